package io.metalora.config;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.function.IntFunction;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.common.Anchor;
import org.snakeyaml.engine.v2.events.AliasEvent;
import org.snakeyaml.engine.v2.events.CollectionStartEvent;
import org.snakeyaml.engine.v2.events.Event;
import org.snakeyaml.engine.v2.events.MappingStartEvent;
import org.snakeyaml.engine.v2.events.ScalarEvent;
import org.snakeyaml.engine.v2.events.SequenceStartEvent;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.ReaderException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.parser.ParserImpl;
import org.snakeyaml.engine.v2.scanner.StreamReader;

/**
 * YAML 1.2 without types: every scalar stays the text it is, for the key it belongs to to say what it means. What makes a
 * text stand for another (anchors, aliases, merge keys, tags) is refused.
 */
final class Yaml {

    /** Far more than a configuration has: sections of values that are lists. */
    private static final int DEEPEST = 16;

    /** A value and the line it begins in, from 1. */
    sealed interface Node {
        int line();
    }

    /** @param plain whether it stands without quotes */
    record Scalar(String text, boolean plain, int line) implements Node {

        /** Whether it says that there is no value. */
        boolean isNull() {
            return plain && (text.isEmpty() || text.equals("~") || text.equalsIgnoreCase("null"));
        }
    }

    record Sequence(List<Node> items, int line) implements Node {
    }

    record Mapping(List<Entry> entries, int line) implements Node {
    }

    record Entry(String key, int line, Node value) {
    }

    private final IntFunction<String> place;
    private final String text;
    private final Iterator<Event> events;
    /** The line of what was read last. */
    private int seen = 1;

    private Yaml(IntFunction<String> place, String text) {
        this.place = place;
        this.text = text;
        // The parser moves all it has read for every buffer it reads: with one buffer for all, its time is linear.
        var settings = LoadSettings.builder().setBufferSize(Math.max(1024, text.length() + 1)).setCodePointLimit(Integer.MAX_VALUE)
                .build();
        this.events = new ParserImpl(settings, new StreamReader(settings, text));
    }

    /**
     * Reads one document.
     *
     * @param place says where a line is, for messages
     * @return empty if there is nothing but comments
     * @throws InputException if it is no YAML, or more than one document
     */
    static Optional<Node> parse(IntFunction<String> place, String text) {
        return new Yaml(place, text).document();
    }

    private Optional<Node> document() {
        try {
            next(); // the stream's start
            if (next().getEventId() == Event.ID.StreamEnd) {
                return Optional.empty();
            }
            Node root = node(next(), 0);
            next(); // the document's end
            Event after = next();
            if (after.getEventId() != Event.ID.StreamEnd) {
                throw fail(line(after), "a second document begins; one file holds one config");
            }
            return root instanceof Scalar scalar && scalar.plain() && scalar.text().isEmpty() ? Optional.empty() : Optional.of(root);
        } catch (ReaderException e) {
            throw fail(lineOf(e.getPosition()), "the character U+%04X is not allowed in YAML; ".formatted(e.getCodePoint())
                    + (e.getCodePoint() == 0 ? "save the file as UTF-8 text" : "write it with an escape, in double quotes"));
        } catch (MarkedYamlEngineException e) {
            throw malformed(e);
        } catch (YamlEngineException e) {
            throw fail(1, "malformed YAML: " + Shown.plain(e.getMessage()));
        } catch (IllegalArgumentException e) { // of the parser, where the file ends within an escape
            throw fail(seen, "malformed YAML: here, or in a value below, an escape after \\ in double quotes is cut off");
        }
    }

    private Event next() {
        Event event = events.next();
        seen = line(event);
        return event;
    }

    private Node node(Event event, int depth) {
        int line = line(event);
        if (depth > DEEPEST) {
            throw fail(line, "is nested more than " + DEEPEST + " deep");
        }
        return switch (event) {
            case AliasEvent alias -> throw fail(line, "the alias *" + Shown.plain(alias.getAlias().getValue())
                    + " is not supported; write the value itself, or in quotes if it begins with *");
            case ScalarEvent scalar -> {
                refuse(scalar.getAnchor(), scalar.getTag(), line);
                yield new Scalar(scalar.getValue(), scalar.isPlain(), line);
            }
            case SequenceStartEvent start -> {
                refuse(start, line);
                var items = new ArrayList<Node>();
                for (Event item = next(); item.getEventId() != Event.ID.SequenceEnd; item = next()) {
                    items.add(node(item, depth + 1));
                }
                yield new Sequence(items, line);
            }
            case MappingStartEvent start -> {
                refuse(start, line);
                var entries = new ArrayList<Entry>();
                for (Event key = next(); key.getEventId() != Event.ID.MappingEnd; key = next()) {
                    entries.add(entry(key, depth + 1));
                }
                yield new Mapping(entries, line);
            }
            default -> throw new IllegalStateException(event.toString());
        };
    }

    private Entry entry(Event event, int depth) {
        if (!(node(event, depth) instanceof Scalar key)) {
            throw fail(line(event), "a key must be a name, not a list or a section");
        }
        if (key.plain() && key.text().equals("<<")) {
            throw fail(key.line(), "the merge key << is not supported; write the keys themselves");
        }
        return new Entry(key.text(), key.line(), node(next(), depth));
    }

    private void refuse(CollectionStartEvent start, int line) {
        refuse(start.getAnchor(), start.getTag(), line);
    }

    private void refuse(Optional<Anchor> anchor, Optional<String> tag, int line) {
        if (anchor.isPresent()) {
            throw fail(line, "the anchor &" + Shown.plain(anchor.get().getValue())
                    + " is not supported; write the value without it, or in quotes if it begins with &");
        }
        if (tag.isPresent()) {
            throw fail(line, "the tag " + Shown.plain(tag.get().replace("tag:yaml.org,2002:", "!!"))
                    + " is not supported; every key's type is known: write the value without it, or in quotes if it begins with !");
        }
    }

    private static int line(Event event) {
        return event.getStartMark().map(mark -> mark.getLine() + 1).orElse(1);
    }

    private InputException fail(int line, String what) {
        return new InputException(place.apply(line) + ": " + what);
    }

    // ---- what the parser says, in words

    private InputException malformed(MarkedYamlEngineException e) {
        int line = line(e.getProblemMark(), 1);
        int begin = line(e.getContextMark(), line);
        for (int tabbed : new int[] {line, begin}) {
            if (textOf(tabbed).stripTrailing().matches(" *\t.*")) {
                return fail(tabbed, "a tab; YAML is indented by spaces alone");
            }
        }
        String context = e.getContext() == null ? "" : e.getContext();
        String problem = e.getProblem() == null ? "" : e.getProblem();
        if (problem.contains("found unexpected end of stream") || problem.contains("found unexpected document separator")) {
            return fail(begin, "malformed YAML: the quote that is opened here is not closed");
        }
        if (context.contains("flow sequence")) {
            return fail(line, "malformed YAML: the list that begins with [ in line " + begin + " is not closed, or a comma is missing");
        }
        if (context.contains("flow mapping")) {
            return fail(line, "malformed YAML: the section that begins with { in line " + begin
                    + " is not closed, or a comma is missing");
        }
        if (problem.contains("could not find expected ':'")) {
            return fail(begin, "malformed YAML: a key without \": value\"");
        }
        if (problem.contains("mapping values are not allowed")) {
            return fail(line, "malformed YAML: \": \" where no key can be; put a value that holds it in quotes, and check the indentation");
        }
        if (problem.contains("cannot start any token") || context.contains("an alias") || context.contains("an anchor")) {
            return fail(line, "malformed YAML: a value can't begin with " + Shown.quoted(character(e.getProblemMark()))
                    + "; put it in quotes");
        }
        if (problem.contains("<document start>") || context.contains("block mapping")
                || context.contains("block collection") || problem.contains("are not allowed here")) {
            return fail(line, "malformed YAML: the indentation does not fit the lines above, or something follows a value");
        }
        if (context.contains("double-quoted")) {
            return fail(line, "malformed YAML: an unknown escape after \\ in double quotes; in single quotes \\ is a character as any other");
        }
        if (context.contains("block scalar")) {
            return fail(line, "malformed YAML: a value that begins with | or > continues in the next line; put it in quotes if it is to begin so");
        }
        if (context.contains("a tag") || problem.contains("the node content")) {
            return fail(line, "malformed YAML: a value is missing, or begins with !, which is then to be put in quotes; or a [ or { before it is "
                    + "not closed");
        }
        if (context.contains("directive") || problem.contains("irective")) {
            return fail(line, "malformed YAML: a line can't begin with %; put a value that does in quotes");
        }
        return fail(line, "malformed YAML: " + Shown.plain(problem));
    }

    private static int line(Optional<Mark> mark, int otherwise) {
        return mark.map(m -> m.getLine() + 1).orElse(otherwise);
    }

    private String character(Optional<Mark> mark) {
        return mark.filter(m -> m.getPointer() < m.getBuffer().length)
                .map(m -> Character.toString(m.getBuffer()[m.getPointer()])).orElse("");
    }

    private String textOf(int line) {
        return text.lines().skip(line - 1L).findFirst().orElse("");
    }

    private int lineOf(int position) {
        return 1 + (int) text.substring(0, Math.min(position, text.length())).chars().filter(c -> c == '\n').count();
    }

    // ---- writing

    /** A text in double quotes, with all that YAML does not print escaped. */
    static String quoted(String text) {
        var out = new StringBuilder("\"");
        text.codePoints().forEach(point -> {
            if (point == '"' || point == '\\') {
                out.append('\\').appendCodePoint(point);
            } else if (printed(point)) {
                out.appendCodePoint(point);
            } else {
                out.append(String.format("\\u%04x", point));
            }
        });
        return out.append('"').toString();
    }

    private static boolean printed(int point) {
        return point >= 0x20 && point <= 0x7E || point >= 0xA0 && point <= 0xFFFD && point != 0x2028 && point != 0x2029
                && point != 0xFEFF && !(point >= 0xD800 && point <= 0xDFFF) || point >= 0x10000;
    }
}
