package io.metalora.task;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.file.JsonText;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * Reads a file of examples: JSON Lines in UTF-8, each line an object with the strings {@code prompt} and
 * {@code completion}. Other keys are ignored, empty lines and byte order marks skipped. Read from its beginning to its end
 * once, so that it may be a pipe.
 */
public final class ExampleFile {

    /** Of text a model can read there is far less in a line; without a limit, a file without line ends fills the heap. */
    private static final int MOST_LINE_BYTES = 64 << 20;
    private static final int CHUNK = 1 << 16;
    private static final int MARK_BYTES = 3;
    private static final int SHOWN = 80;

    private static final ObjectReader READER = reader();

    private ExampleFile() {
    }

    private static ObjectReader reader() {
        ObjectMapper mapper = JsonMapper.builder()
                .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .build();
        return mapper.readerFor(JsonNode.class);
    }

    /**
     * All examples of the file, in its order.
     *
     * @throws InputException if the file is missing or empty, a line is not UTF-8, is malformed, lacks a key or has an empty
     *                        completion, or the examples take more than half of the Java heap; the message begins with the file,
     *                        and with the line where it is one
     */
    public static List<Example> read(Path file) {
        return read(file, new HeapShare());
    }

    /** As above; {@code share} counts what several files take together. */
    static List<Example> read(Path file, HeapShare share) {
        if (Files.isDirectory(file)) {
            throw new InputException(file + ": is a folder; give a file of lines of {\"prompt\": ..., \"completion\": ...}");
        }
        if (Files.notExists(file)) {
            throw new InputException(file + ": no such file" + (Files.isSymbolicLink(file) ? " (it is a link that leads nowhere)" : "")
                    + "; expected lines of {\"prompt\": ..., \"completion\": ...}");
        }
        List<Example> examples;
        try (InputStream in = Files.newInputStream(file)) {
            examples = new Lines(file, in, share).read();
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + FileFailure.reason(e));
        }
        if (examples.isEmpty()) {
            throw new InputException(file + ": holds no examples; remove the file or give it lines of "
                    + "{\"prompt\": ..., \"completion\": ...}");
        }
        return examples;
    }

    /** Takes a stream apart, holding no more of it than a line. */
    private static final class Lines {

        private final Path file;
        private final InputStream in;
        private final HeapShare share;
        private final List<Example> examples = new ArrayList<>();
        private byte[] buffer = new byte[CHUNK];
        private int line;

        Lines(Path file, InputStream in, HeapShare share) {
            this.file = file;
            this.in = in;
            this.share = share;
        }

        List<Example> read() throws IOException {
            int held = 0; // bytes of the buffer: the beginning of a line, then what was just read
            int searched = 0;
            boolean first = true;
            for (int n = in.read(buffer, 0, CHUNK); n >= 0; n = in.read(buffer, held, Math.min(CHUNK, buffer.length - held))) {
                held += n;
                if (first) {
                    JsonText.requireText(file.toString(), Arrays.copyOf(buffer, Math.min(held, CHUNK)));
                    first = false;
                }
                int start = 0;
                for (int end = searched; end < held; end++) {
                    if (buffer[end] == '\n') {
                        line(start, end);
                        start = end + 1;
                    }
                }
                if (start > 0) {
                    System.arraycopy(buffer, start, buffer, 0, held - start);
                    held -= start;
                }
                searched = held;
                if (held > MOST_LINE_BYTES) {
                    throw new InputException(file + ":" + (line + 1) + ": the line has more than " + (MOST_LINE_BYTES >> 20)
                            + " MiB; each example must be a line of its own");
                }
                if (buffer.length - held < CHUNK) {
                    buffer = Arrays.copyOf(buffer, 2 * buffer.length);
                }
            }
            line(0, held);
            return examples;
        }

        private void line(int start, int end) {
            line++;
            String source = file + ":" + line;
            boolean marked = end - start >= MARK_BYTES && JsonText.hasMark(Arrays.copyOfRange(buffer, start, start + MARK_BYTES));
            String text = decode(marked ? start + MARK_BYTES : start, end, source);
            if (!text.isBlank()) {
                Example example = parse(text, source);
                examples.add(example);
                share.add(example, file, line);
            }
        }

        private String decode(int start, int end, String source) {
            try {
                return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(buffer, start, end - start)).toString();
            } catch (CharacterCodingException e) {
                throw new InputException(source + ": not UTF-8; convert the file to UTF-8");
            }
        }
    }

    private static Example parse(String text, String source) {
        JsonNode node;
        try {
            node = READER.readTree(text);
        } catch (JsonProcessingException e) {
            int column = e.getLocation() == null ? 1 : Math.max(1, e.getLocation().getColumnNr());
            throw new InputException(source + ": malformed JSON at column " + column + ": " + JsonText.problem(e));
        }
        if (!node.isObject()) {
            throw new InputException(source + ": a line must be a JSON object with prompt and completion, not "
                    + node.getNodeType().name().toLowerCase(Locale.ROOT));
        }
        String prompt = text(node, "prompt", source);
        String completion = text(node, "completion", source);
        if (completion.isEmpty()) {
            throw new InputException(source + ": the completion is empty, so there is nothing to learn or to score; "
                    + "remove the line or give it a completion");
        }
        return new Example(prompt, completion, source);
    }

    private static String text(JsonNode node, String key, String source) {
        JsonNode value = node.get(key);
        if (value == null) {
            throw new InputException(source + ": the key \"" + key + "\" is missing; a line needs \"prompt\" and \"completion\"");
        }
        if (!value.isTextual()) {
            String shown = value.toString();
            throw new InputException(source + ": \"" + key + "\" must be a string, but is "
                    + (shown.length() <= SHOWN ? shown : shown.substring(0, SHOWN - 3) + "..."));
        }
        return value.textValue();
    }
}
