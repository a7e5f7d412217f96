package io.metalora.launcher.synthetic;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Groups of words ("animal", "weekday", ...), aligned over the languages: the i-th word of a group means the same in
 * each of them. Read from the resource {@code lexicon.tsv}.
 */
final class Lexicon {

    /** Groups of things one can hold, count or compare; each has its entry, in this order, in "kind" and "place". */
    static final List<String> KINDS = List.of("animal", "fruit", "tool", "garment", "vehicle", "furniture");

    /** Groups of words that give away what a message is about; same order as the group "topic". */
    static final List<String> TOPICS = List.of("sport", "music", "weather", "money");

    private static final Lexicon BUILT_IN = read("lexicon.tsv");

    private final Map<Language, Map<String, List<String>>> words;

    private Lexicon(Map<Language, Map<String, List<String>>> words) {
        this.words = words;
    }

    static Lexicon builtIn() {
        return BUILT_IN;
    }

    /** The words of a group, in the lexicon's order. */
    List<String> group(Language language, String group) {
        var list = words.get(language).get(group);
        if (list == null) {
            throw new IllegalArgumentException("no group '" + group + "' in lexicon.tsv");
        }
        return list;
    }

    /** The kind group a thing belongs to. */
    String kindOf(Language language, String thing) {
        for (String kind : KINDS) {
            if (group(language, kind).contains(thing)) {
                return kind;
            }
        }
        throw new IllegalArgumentException("'" + thing + "' is of no kind in lexicon.tsv");
    }

    /** The entry of "kind" or "place" that stands for a kind group. */
    String nameOfKind(Language language, String naming, String kind) {
        return group(language, naming).get(KINDS.indexOf(kind));
    }

    private static Lexicon read(String resource) {
        var words = new EnumMap<Language, Map<String, List<String>>>(Language.class);
        for (Language language : Language.values()) {
            words.put(language, new LinkedHashMap<>());
        }
        try (var in = Lexicon.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new IllegalStateException("resource " + resource + " is missing beside " + Lexicon.class.getName());
            }
            var reader = new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8));
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                if (line.startsWith("#")) {
                    continue;
                }
                String[] columns = line.split("\t");
                for (Language language : Language.values()) {
                    words.get(language)
                            .computeIfAbsent(columns[0], group -> new ArrayList<>())
                            .add(columns[1 + language.ordinal()]);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return new Lexicon(words);
    }
}
