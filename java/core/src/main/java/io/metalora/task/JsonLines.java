package io.metalora.task;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import io.metalora.file.JsonText;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;

/** Takes a stream of JSON Lines apart, holding no more of it than a line. */
final class JsonLines {

    /** Of text a model can read there is far less in a line; without a limit, a file without line ends fills the heap. */
    private static final int MOST_LINE_BYTES = 64 << 20;
    private static final int CHUNK = 1 << 16;
    private static final int MARK_BYTES = 3;

    private final Path file;
    private final InputStream in;
    private final ExampleFile.Sink sink;
    private byte[] buffer = new byte[CHUNK];
    private int line;

    JsonLines(Path file, InputStream in, ExampleFile.Sink sink) {
        this.file = file;
        this.in = in;
        this.sink = sink;
    }

    void read() throws IOException {
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
    }

    private void line(int start, int end) {
        line++;
        String source = file + ":" + line;
        boolean marked = end - start >= MARK_BYTES && JsonText.hasMark(Arrays.copyOfRange(buffer, start, start + MARK_BYTES));
        String text = decode(marked ? start + MARK_BYTES : start, end, source);
        if (!text.isBlank()) {
            sink.record(parse(text, source), line);
        }
    }

    private String decode(int start, int end, String source) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(buffer, start, end - start)).toString();
        } catch (CharacterCodingException e) {
            throw new InputException(source + ": not UTF-8; convert the file to UTF-8");
        }
    }

    private static JsonNode parse(String text, String source) {
        try {
            return ExampleFile.JSON.readTree(text);
        } catch (JsonProcessingException e) {
            int column = e.getLocation() == null ? 1 : Math.max(1, e.getLocation().getColumnNr());
            throw new InputException(source + ": malformed JSON at column " + column + ": " + JsonText.problem(e));
        }
    }
}
