package io.metalora.runtime;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A file mapped read-only into memory, of any size. The tensors read from it borrow the mapping: using one after
 * {@link #close} is an IllegalStateException. The file must not shrink while it is mapped.
 */
public final class MappedFile implements AutoCloseable {
    private final Path path;
    private final Arena arena;
    private final MemorySegment data;

    private MappedFile(Path path, Arena arena, MemorySegment data) {
        this.path = path;
        this.arena = arena;
        this.data = data;
    }

    /** Maps {@code path}; an InputException names a file that is not there or cannot be read. */
    public static MappedFile open(Path path) {
        if (Files.isDirectory(path)) {
            throw new InputException(path + " is a folder; a file is needed");
        }
        // Shared: a file may be closed by another thread than the one that opened it.
        var arena = Arena.ofShared();
        try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
            return new MappedFile(path, arena, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
        } catch (NoSuchFileException e) {
            arena.close();
            throw new InputException(path + ": no such file");
        } catch (IOException e) {
            arena.close();
            throw new InputException(path + " cannot be read: " + e.getMessage(), e);
        }
    }

    public Path path() {
        return path;
    }

    public long size() {
        return data.byteSize();
    }

    /** Bytes {@code [offset, offset + length)}; they must lie inside the file. */
    public byte[] read(long offset, int length) {
        return range("bytes", offset, length).toArray(ValueLayout.JAVA_BYTE);
    }

    /** The values at {@code offset}, of any alignment, without copying them. */
    public HostTensor tensor(String name, long offset, DType dtype, long... shape) {
        long elements = Shapes.elements(name, shape);
        return new HostTensor(name, dtype, shape, range(name, offset, Math.multiplyExact(elements, dtype.bytes())));
    }

    private MemorySegment range(String name, long offset, long length) {
        if (offset < 0 || length < 0 || length > data.byteSize() - offset) {
            throw new InputException(path + ": " + name + " needs " + length + " bytes at offset " + offset
                    + ", beyond the file's " + data.byteSize() + "; the file is truncated or of another kind");
        }
        return data.asSlice(offset, length);
    }

    @Override
    public void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
