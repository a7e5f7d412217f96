package io.metalora.run;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.file.AtomicFile;
import io.metalora.file.RegularFile;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A JSON Lines file that grows by whole lines and can be cut back to where a checkpoint left it. */
final class RunLog implements AutoCloseable {

    private static final ObjectMapper JSON = JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

    /** Bytes of a line; millions of samples of a task take less. */
    private static final int LONGEST = 128 << 20;

    private final Path file;
    private final FileChannel channel;

    private RunLog(Path file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /** Opens the file, making it if needed, and cuts it to {@code length} bytes. */
    static RunLog open(Path file, long length) {
        try {
            var channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            try {
                channel.truncate(length);
                channel.position(length);
                return new RunLog(file, channel);
            } catch (IOException e) {
                channel.close();
                throw e;
            }
        } catch (IOException e) {
            throw AtomicFile.failed(file, e);
        }
    }

    /** Appends a line; where that fails, none of it. */
    void append(JsonNode line) {
        try {
            var bytes = ByteBuffer.wrap((JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8));
            long before = channel.position();
            try {
                while (bytes.hasRemaining()) {
                    channel.write(bytes);
                }
            } catch (IOException e) {
                channel.truncate(before);
                throw e;
            }
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        } catch (IOException e) {
            throw AtomicFile.failed(file, e);
        }
    }

    /** Brings all lines to the disk. Returns the length in bytes. */
    long force() {
        try {
            channel.force(true);
            return channel.position();
        } catch (IOException e) {
            throw AtomicFile.failed(file, e);
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw AtomicFile.failed(file, e);
        }
    }

    // ---- reading

    /** Is called with each line of a log. */
    @FunctionalInterface
    interface Reader {
        /**
         * Takes one more line.
         *
         * @throws InputException if the line is wrong; its file and number are put before the message
         */
        void line(ObjectNode line);
    }

    /**
     * Reads the first bytes of a log.
     *
     * @throws InputException if they are not whole lines of JSON objects, or {@code reader} says so; it names file and line
     */
    static void read(Path file, long length, Reader reader) {
        read(file, length, "; restore the file from a copy, or start a new run with another output. Nothing was changed", reader);
    }

    /** As above, with other advice to the user. */
    static void read(Path file, long length, String advice, Reader reader) {
        int number = 1;
        try (var in = new BufferedInputStream(RegularFile.open(file))) {
            var line = new ByteArrayOutputStream();
            for (long left = length; left > 0; number++) {
                left -= line(in, left, line);
                reader.line(object(line.toByteArray()));
            }
        } catch (InputException e) {
            throw new InputException(file + ":" + number + ": " + e.getMessage() + advice, e);
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + FileFailure.reason(e), e);
        }
    }

    /** Returns the bytes read, the newline at the end included. */
    private static long line(InputStream in, long most, ByteArrayOutputStream line) throws IOException {
        line.reset();
        for (long read = 1; read <= most; read++) {
            int b = in.read();
            if (b == '\n') {
                return read;
            }
            if (b < 0) {
                break;
            }
            if (line.size() == LONGEST) {
                throw new InputException("the line is damaged: it has more than " + (LONGEST >> 20) + " MiB");
            }
            line.write(b);
        }
        throw new InputException("the line is damaged: it has no end");
    }

    private static ObjectNode object(byte[] line) throws IOException {
        try {
            if (JSON.readTree(line) instanceof ObjectNode object) {
                return object;
            }
        } catch (JsonProcessingException e) {
            // reported below: details of the parser would not help
        }
        throw new InputException("the line is damaged: it is not a JSON object");
    }
}
