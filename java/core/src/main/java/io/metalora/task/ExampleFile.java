package io.metalora.task;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.file.JsonText;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Reads a file of examples in UTF-8: by its name a table ({@code .csv}, {@code .tsv}, {@code .parquet}), a JSON array ({@code .json}), or else
 * JSON Lines. A record is a prompt and a completion, a conversation ({@code messages}, or ShareGPT's {@code conversations}), or an
 * instruction of Alpaca's form; the first one says which, for the whole file. Other keys are ignored, empty lines and byte order
 * marks skipped. Read from its beginning to its end once, so that JSON Lines may be a pipe.
 */
public final class ExampleFile {

    /** Enough to recognise what a file is. */
    private static final int HEAD = 4096;

    private static final String PARQUET = "parquet";

    /** Of files that hold examples. */
    static final Set<String> EXTENSIONS = Set.of("jsonl", "json", "csv", "tsv", PARQUET);

    static final ObjectReader JSON = reader();
    private static final ObjectMapper VALUES = new ObjectMapper();

    /** Takes a file's records, in order. */
    @FunctionalInterface
    interface Sink {
        /** @param line that it begins in, from 1 */
        void record(JsonNode record, int line);
    }

    private ExampleFile() {
    }

    private static ObjectReader reader() {
        ObjectMapper mapper = JsonMapper.builder()
                .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .build();
        return mapper.readerFor(JsonNode.class);
    }

    /** As below, of examples that are no conversations, with the usual keys. */
    public static List<Example> read(Path file) {
        return read(file, ReadOptions.NONE);
    }

    /**
     * All examples of the file, in its order.
     *
     * @throws InputException if the file is missing or empty, a line is not UTF-8, is malformed, lacks a key or has an empty
     *                        completion, records are of several forms, a conversation can't be written by the model's chat template,
     *                        or the examples take more than a quarter of the Java heap; the message begins with the file, and with
     *                        the line where it is one
     */
    public static List<Example> read(Path file, ReadOptions options) {
        return read(file, options, new HeapShare());
    }

    /** As above; {@code share} counts what several files take together. */
    static List<Example> read(Path file, ReadOptions options, HeapShare share) {
        if (Files.isDirectory(file)) {
            throw new InputException(file + ": is a folder; give a file of lines of {\"prompt\": ..., \"completion\": ...}");
        }
        if (Files.notExists(file)) {
            throw new InputException(file + ": no such file" + (Files.isSymbolicLink(file) ? " (it is a link that leads nowhere)" : "")
                    + "; expected lines of {\"prompt\": ..., \"completion\": ...}");
        }
        var examples = new Examples(file, options, share);
        try (InputStream in = Files.newInputStream(file)) {
            read(file, in, examples);
        } catch (CharacterCodingException e) {
            throw new InputException(file + ": not UTF-8; convert the file to UTF-8", e);
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + FileFailure.reason(e));
        }
        if (examples.read.isEmpty()) {
            throw new InputException(file + ": holds no examples; remove the file or give it lines of "
                    + "{\"prompt\": ..., \"completion\": ...}");
        }
        return examples.read;
    }

    private static void read(Path file, InputStream in, Sink sink) throws IOException {
        String name = file.getFileName().toString();
        String extension = name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
        switch (extension) {
            case PARQUET -> table(file, extension, sink);
            case "csv" -> DelimitedText.read(file, text(file, new BufferedInputStream(in)), ',', sink);
            case "tsv" -> DelimitedText.read(file, text(file, new BufferedInputStream(in)), '\t', sink);
            case "json" -> {
                var buffered = new BufferedInputStream(in);
                // Many files of this name hold an object a line.
                if (new String(head(buffered), StandardCharsets.ISO_8859_1).replace("\u00ef\u00bb\u00bf", "").stripLeading().startsWith("{")) {
                    new JsonLines(file, buffered, sink).read();
                } else {
                    JsonArray.read(file, text(file, buffered), sink);
                }
            }
            default -> new JsonLines(file, in, sink).read();
        }
    }

    /** By a reader that is a service. Rows are numbered from 1, as lines are. */
    private static void table(Path file, String extension, Sink sink) throws IOException {
        TableReader reader = TableReader.find(extension).orElseThrow(() -> new InputException(file
                + ": nothing here reads Parquet; add metalora-launcher to the class path, or convert the file to JSON Lines"));
        var row = new AtomicInteger();
        reader.read(file, values -> sink.record(VALUES.valueToTree(values), row.incrementAndGet()));
    }

    /** The text of a stream; what is not UTF-8 is a {@link CharacterCodingException}. */
    private static Reader text(Path file, BufferedInputStream in) throws IOException {
        byte[] head = head(in);
        JsonText.requireText(file.toString(), head);
        if (JsonText.hasMark(head)) {
            in.skipNBytes(3);
        }
        return new InputStreamReader(in, StandardCharsets.UTF_8.newDecoder());
    }

    private static byte[] head(BufferedInputStream in) throws IOException {
        in.mark(HEAD);
        byte[] head = in.readNBytes(HEAD);
        in.reset();
        return head;
    }

    /** Turns records into examples, all by the form of the first. */
    private static final class Examples implements Sink {

        private final Path file;
        private final ReadOptions options;
        private final HeapShare share;
        private final List<Example> read = new ArrayList<>();
        private ExampleForm form;
        private int first;
        private int last;

        Examples(Path file, ReadOptions options, HeapShare share) {
            this.file = file;
            this.options = options;
            this.share = share;
        }

        @Override
        public void record(JsonNode record, int line) {
            // An array may lie in one line.
            String source = file + ":" + line + (line == last ? ", example " + (read.size() + 1) : "");
            last = line;
            if (!record.isObject()) {
                throw new InputException(source + ": a line must be a JSON object with prompt and completion, not "
                        + record.getNodeType().name().toLowerCase(Locale.ROOT));
            }
            add(options.texts() != null ? options.texts().fill(record, source) : ofForm(record, source, line), line);
        }

        private Example ofForm(JsonNode record, String source, int line) {
            ExampleForm found = ExampleForm.of(record, options.columns());
            if (form == null) {
                form = found;
                first = line;
            } else if (found != form && found.hasKeys(record, options.columns())) {
                throw new InputException(source + ": is " + found + ", but line " + first + " is " + form
                        + "; a file holds one form: put them in files of their own");
            }
            return form.read(record, options, source);
        }

        private void add(Example example, int line) {
            read.add(example);
            share.add(example, file, line);
        }
    }
}
