package io.metalora.runtime;

import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.Objects;

/**
 * A file of any size that values are read from. It is read, not mapped into memory: if it shrinks meanwhile, reading throws an
 * exception, where touching a mapped page that is gone would end the process. Tensors of a file are read when they are used;
 * using one after {@link #close} throws an IllegalStateException.
 */
public final class DataFile implements AutoCloseable {
    private final Path path;
    private final FileChannel channel;
    private final long size;
    private final Version version;

    /** What changes when a file is written to. */
    private record Version(Object key, long size, FileTime modified) {
        static Version of(Path path) throws IOException {
            var attributes = Files.readAttributes(path, BasicFileAttributes.class);
            return new Version(attributes.fileKey(), attributes.size(), attributes.lastModifiedTime());
        }
    }

    private DataFile(Path path, FileChannel channel) throws IOException {
        this.path = path;
        this.channel = channel;
        this.size = channel.size();
        this.version = Version.of(path);
    }

    /** Opens {@code path}; an InputException names a file that is not there or cannot be read. */
    public static DataFile open(Path path) {
        if (Files.isDirectory(path)) {
            throw new InputException(path + " is a folder; a file is needed");
        }
        if (Files.exists(path) && !Files.isRegularFile(path)) {
            throw new InputException(path + " is a pipe or a device; a file is needed, which can be read at any place");
        }
        try {
            var channel = FileChannel.open(path, StandardOpenOption.READ);
            try {
                return new DataFile(path, channel);
            } catch (IOException | RuntimeException | Error e) {
                channel.close();
                throw e;
            }
        } catch (NoSuchFileException e) {
            throw new InputException(path + ": no such file");
        } catch (IOException e) {
            throw new InputException(path + " cannot be read: " + FileFailure.reason(e), e);
        }
    }

    public Path path() {
        return path;
    }

    /** In bytes, when it was opened. */
    public long size() {
        return size;
    }

    /** Bytes {@code [offset, offset + length)}; they must lie inside the file. */
    public byte[] read(long offset, int length) {
        requireInside("bytes", offset, length);
        var bytes = new byte[length];
        read(offset, MemorySegment.ofArray(bytes));
        return bytes;
    }

    /** The values at {@code offset}, of any alignment, which are read when they are used. */
    public HostTensor tensor(String name, long offset, DType dtype, long... shape) {
        long bytes = Math.multiplyExact(Shapes.elements(name, shape), dtype.bytes());
        requireInside(name, offset, bytes);
        return new HostTensor(name, dtype, shape, (at, to) -> read(offset + at, to));
    }

    /**
     * Throws if the file was written to since it was opened, so that what was read so far cannot be relied on. Renaming or
     * replacing it is harmless: the open file stays as it was.
     *
     * @throws UncheckedIOException if it changed
     */
    public void requireUnchanged() {
        Version now;
        try {
            now = Version.of(path);
        } catch (IOException e) {
            return; // removed or renamed: what is open is still there
        }
        if (Objects.equals(now.key(), version.key()) && !now.equals(version)) {
            throw changed("it was written to");
        }
    }

    /** Fills {@code to} from {@code offset} on. */
    private void read(long offset, MemorySegment to) {
        ByteBuffer buffer = to.asByteBuffer();
        try {
            while (buffer.hasRemaining()) {
                if (channel.read(buffer, offset + buffer.position()) < 0) {
                    throw changed("it had " + size + " bytes and has " + channel.size());
                }
            }
        } catch (ClosedByInterruptException e) {
            throw new UncheckedIOException(path + ": reading was interrupted", e);
        } catch (ClosedChannelException e) {
            throw new IllegalStateException(path + " is closed", e);
        } catch (IOException e) {
            throw new UncheckedIOException(path + ": can't be read: " + FileFailure.reason(e), e);
        }
    }

    private UncheckedIOException changed(String how) {
        String message = path + ": the file was changed while it was read (" + how + "); leave it alone during a run, and start again";
        return new UncheckedIOException(message, new IOException(message));
    }

    private void requireInside(String name, long offset, long length) {
        if (offset < 0 || length < 0 || length > size - offset) {
            throw new InputException(path + ": " + name + " needs " + length + " bytes at offset " + offset
                    + ", beyond the file's " + size + "; the file is truncated or of another kind");
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new UncheckedIOException(path + ": can't be closed: " + FileFailure.reason(e), e);
        }
    }
}
