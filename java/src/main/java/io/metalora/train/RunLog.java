package io.metalora.train;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A JSON Lines file that grows by whole lines and can be cut back to where a checkpoint left it. */
final class RunLog implements AutoCloseable {

    private static final ObjectMapper JSON = new ObjectMapper();

    private final FileChannel channel;

    private RunLog(FileChannel channel) {
        this.channel = channel;
    }

    /**
     * Opens the file, making it if needed, and cuts it to {@code length} bytes.
     *
     * @throws InputException if another training process has it open
     */
    static RunLog open(Path file, long length) {
        try {
            var channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            if (!locked(channel)) {
                channel.close();
                throw new InputException(file + ": another process is training in this run folder; wait for it or stop it");
            }
            channel.truncate(length);
            channel.position(length);
            return new RunLog(channel);
        } catch (IOException e) {
            throw new UncheckedIOException(file + ": can't be written", e);
        }
    }

    /** The lock goes with the channel, or with the process. */
    private static boolean locked(FileChannel channel) throws IOException {
        try {
            return channel.tryLock() != null;
        } catch (OverlappingFileLockException e) {
            return false;
        }
    }

    void append(JsonNode line) {
        try {
            var bytes = ByteBuffer.wrap((JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8));
            while (bytes.hasRemaining()) {
                channel.write(bytes);
            }
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        } catch (IOException e) {
            throw new UncheckedIOException("the run's log can't be written", e);
        }
    }

    /** Brings all lines to the disk. Returns the length in bytes. */
    long force() {
        try {
            channel.force(true);
            return channel.position();
        } catch (IOException e) {
            throw new UncheckedIOException("the run's log can't be written", e);
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
