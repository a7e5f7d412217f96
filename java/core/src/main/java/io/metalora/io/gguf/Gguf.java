package io.metalora.io.gguf;

import io.metalora.file.AtomicFile;
import io.metalora.runtime.DType;
import io.metalora.runtime.HostTensor;
import java.io.ByteArrayOutputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.SequencedMap;

/**
 * Writes a GGUF file of version 3, little-endian (ggml's docs/gguf.md): the magic, counts of tensors and of keys, the keys with
 * their values, the tensors' names, shapes and offsets, then their data, each padded to {@value #ALIGNMENT} bytes.
 */
public final class Gguf {
    /** The format's default, which a file need not state. */
    private static final int ALIGNMENT = 32;
    private static final int VERSION = 3;
    private static final int CHUNK = 1 << 20;

    // Types of values, and of tensors, in the format's numbers.
    private static final int UINT32 = 4;
    private static final int FLOAT32 = 6;
    private static final int STRING = 8;
    private static final int TENSOR_F32 = 0;

    private final ByteArrayOutputStream head = new ByteArrayOutputStream();

    private Gguf() {}

    /**
     * Writes {@code file} atomically.
     *
     * @param keys    in their order, each a String, a Float or an Integer, which is written as uint32
     * @param tensors in their order, F32, row-major; the file has their dimensions innermost first
     * @throws UncheckedIOException if it can't be written
     */
    public static void write(Path file, SequencedMap<String, Object> keys, SequencedMap<String, HostTensor> tensors) {
        byte[] head = new Gguf().head(keys, tensors);
        AtomicFile.write(file, out -> {
            AtomicFile.writeFully(out, ByteBuffer.wrap(head));
            var chunk = new byte[CHUNK];
            for (HostTensor tensor : tensors.values()) {
                for (long done = 0; done < tensor.bytes(); ) {
                    int n = (int) Math.min(CHUNK, tensor.bytes() - done);
                    tensor.copyBytes(done, chunk, 0, n);
                    AtomicFile.writeFully(out, ByteBuffer.wrap(chunk, 0, n));
                    done += n;
                }
                AtomicFile.writeFully(out, ByteBuffer.allocate((int) (padded(tensor.bytes()) - tensor.bytes())));
            }
        });
    }

    private byte[] head(SequencedMap<String, Object> keys, SequencedMap<String, HostTensor> tensors) {
        head.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
        uint32(VERSION);
        uint64(tensors.size());
        uint64(keys.size());
        keys.forEach(this::key);
        long offset = 0;
        for (var e : tensors.entrySet()) {
            HostTensor tensor = e.getValue();
            if (tensor.dtype() != DType.F32) {
                throw new IllegalArgumentException(tensor + " is not F32");
            }
            string(e.getKey());
            long[] shape = tensor.shape();
            uint32(shape.length);
            for (int i = shape.length - 1; i >= 0; i--) {
                uint64(shape[i]);
            }
            uint32(TENSOR_F32);
            uint64(offset);
            offset += padded(tensor.bytes());
        }
        head.writeBytes(new byte[(int) padded(head.size()) - head.size()]);
        return head.toByteArray();
    }

    private void key(String name, Object value) {
        string(name);
        switch (value) {
            case String text -> {
                uint32(STRING);
                string(text);
            }
            case Float number -> {
                uint32(FLOAT32);
                uint32(Float.floatToIntBits(number));
            }
            case Integer number -> {
                uint32(UINT32);
                uint32(number);
            }
            default -> throw new IllegalArgumentException(name + " is a " + value.getClass());
        }
    }

    private static long padded(long bytes) {
        return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
    }

    private void string(String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        uint64(bytes.length);
        head.writeBytes(bytes);
    }

    private void uint32(int value) {
        head.writeBytes(ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(value).array());
    }

    private void uint64(long value) {
        head.writeBytes(ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array());
    }
}
