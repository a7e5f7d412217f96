package io.metalora.io.safetensors;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.file.AtomicFile;
import io.metalora.file.ForeignFiles;
import io.metalora.runtime.DType;
import io.metalora.runtime.DataFile;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * A safetensors file: 8 bytes little-endian length of the header, the header (JSON), the data. The
 * whole header is checked on opening; an InputException names the file, the tensor and the numbers that do not fit.
 */
public final class Safetensors implements AutoCloseable {
    private static final int LENGTH_BYTES = 8;
    private static final int CHUNK = 1 << 20;

    private final DataFile file;
    private final Path path;
    private final SafetensorsHeader header;
    private final long dataStart;

    private Safetensors(DataFile file, Path path, SafetensorsHeader header, long dataStart) {
        this.file = file;
        this.path = path;
        this.header = header;
        this.dataStart = dataStart;
    }

    public static Safetensors open(Path path) {
        DataFile file = DataFile.open(path);
        try {
            int length = headerLength(file, path);
            long dataStart = LENGTH_BYTES + (long) length;
            var header = SafetensorsHeader.parse(path, file.read(LENGTH_BYTES, length), file.size() - dataStart);
            return new Safetensors(file, path, header, dataStart);
        } catch (RuntimeException | Error e) {
            file.close();
            throw e;
        }
    }

    private static int headerLength(DataFile file, Path path) {
        if (file.size() < LENGTH_BYTES) {
            throw new InputException(path + " has " + file.size() + " bytes, too few for a safetensors file; it is"
                    + " truncated: fetch it again");
        }
        byte[] head = file.read(0, (int) Math.min(file.size(), ForeignFiles.HEAD));
        long length = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getLong();
        boolean plausible = length >= 2 && length <= SafetensorsHeader.MAX_LENGTH
                && length <= file.size() - LENGTH_BYTES && head[LENGTH_BYTES] == '{';
        if (plausible) {
            return (int) length;
        }
        String foreign = ForeignFiles.recognise(head);
        if (foreign != null) {
            throw new InputException(path + " is not a safetensors file but " + foreign);
        }
        String unsigned = Long.toUnsignedString(length);
        if (length < 0 || length > SafetensorsHeader.MAX_LENGTH) {
            throw new InputException(path + " is not a safetensors file: its header would have " + unsigned
                    + " bytes, more than the format's limit of " + SafetensorsHeader.MAX_LENGTH);
        }
        if (length > file.size() - LENGTH_BYTES) {
            throw new InputException(path + ": the header length of " + unsigned + " bytes goes beyond the file's "
                    + file.size() + "; the file is truncated or no safetensors file: fetch it again");
        }
        throw new InputException(path + " is not a safetensors file: its header (" + unsigned
                + " bytes) does not begin with '{'");
    }

    public Path path() {
        return path;
    }

    /** In ascending order. */
    public Set<String> names() {
        return Collections.unmodifiableSet(header.tensors().keySet());
    }

    /** A tensor, whose values are read when they are used; usable until this is closed. */
    public HostTensor tensor(String name) {
        var entry = header.tensors().get(name);
        if (entry == null) {
            throw new InputException(path + " holds no tensor " + name + "; it holds " + sample(names()));
        }
        DType dtype = SafetensorsHeader.dtype(entry.dtype());
        if (dtype == null) {
            throw new InputException(path + ": tensor " + name + " is of type " + entry.dtype()
                    + ", which can't be used here; usable are F32, F16 and BF16");
        }
        return file.tensor(name, dataStart + entry.begin(), dtype, entry.shape());
    }

    /** The file's {@code __metadata__}. */
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(header.metadata());
    }

    /** See {@link DataFile#requireUnchanged}. */
    public void requireUnchanged() {
        file.requireUnchanged();
    }

    @Override
    public void close() {
        file.close();
    }

    /** A few of many names, for a message. */
    static String sample(Set<String> names) {
        List<String> some = names.stream().limit(5).toList();
        return names.isEmpty() ? "none" : names.size() + ": " + String.join(", ", some)
                + (names.size() > some.size() ? ", ..." : "");
    }

    /**
     * Writes {@code file} atomically; an existing file is replaced. Wider types come first, so that each tensor is
     * aligned to its elements, and equal types by name, so that the same tensors give the same bytes.
     */
    public static void write(Path file, Map<String, HostTensor> tensors, Map<String, String> metadata) {
        var order = new TreeMap<String, HostTensor>(
                Comparator.comparingInt((String name) -> -tensors.get(name).dtype().bytes())
                        .thenComparing(Comparator.naturalOrder()));
        order.putAll(tensors);
        byte[] head = header(order, metadata);
        AtomicFile.write(file, out -> {
            AtomicFile.writeFully(out, ByteBuffer.wrap(head));
            var chunk = new byte[CHUNK];
            for (HostTensor t : order.values()) {
                write(out, t, chunk);
            }
        });
    }

    private static void write(FileChannel out, HostTensor tensor, byte[] chunk) throws IOException {
        for (long done = 0; done < tensor.bytes(); ) {
            int n = (int) Math.min(chunk.length, tensor.bytes() - done);
            tensor.copyBytes(done, chunk, 0, n);
            AtomicFile.writeFully(out, ByteBuffer.wrap(chunk, 0, n));
            done += n;
        }
    }

    /**
     * Writes {@code target} atomically: this file, byte for byte, but for the values of some tensors.
     *
     * @param replaced by name; each of this file's type and shape
     */
    public void writeWith(Map<String, HostTensor> replaced, Path target) {
        var order = new ArrayList<>(header.tensors().entrySet());
        order.sort(Comparator.comparingLong(e -> e.getValue().begin()));
        AtomicFile.write(target, out -> {
            var chunk = new byte[CHUNK];
            copy(out, 0, dataStart);
            for (var e : order) {
                HostTensor tensor = replaced.get(e.getKey());
                var entry = e.getValue();
                if (tensor == null) {
                    copy(out, dataStart + entry.begin(), dataStart + entry.end());
                } else if (tensor.dtype() == SafetensorsHeader.dtype(entry.dtype()) && Arrays.equals(tensor.shape(), entry.shape())) {
                    write(out, tensor, chunk);
                } else {
                    throw new IllegalArgumentException(tensor + " can't take the place of " + e.getKey() + " in " + path);
                }
            }
        });
    }

    private void copy(FileChannel out, long begin, long end) throws IOException {
        for (long at = begin; at < end; at += CHUNK) {
            AtomicFile.writeFully(out, ByteBuffer.wrap(file.read(at, (int) Math.min(CHUNK, end - at))));
        }
    }

    /** Bytes of the file. */
    public long size() {
        return file.size();
    }

    /** Length and JSON, padded with spaces so that the data is aligned. */
    private static byte[] header(Map<String, HostTensor> tensors, Map<String, String> metadata) {
        var mapper = new ObjectMapper();
        ObjectNode root = mapper.createObjectNode();
        if (!metadata.isEmpty()) {
            ObjectNode m = root.putObject("__metadata__");
            new TreeMap<>(metadata).forEach(m::put);
        }
        long offset = 0;
        for (var e : tensors.entrySet()) {
            if (e.getKey().equals("__metadata__")) {
                throw new IllegalArgumentException("__metadata__ is no name for a tensor");
            }
            HostTensor t = e.getValue();
            ObjectNode entry = root.putObject(e.getKey());
            entry.put("dtype", t.dtype().name());
            var shape = entry.putArray("shape");
            Arrays.stream(t.shape()).forEach(shape::add);
            entry.putArray("data_offsets").add(offset).add(offset + t.bytes());
            offset += t.bytes();
        }
        byte[] json = root.toString().getBytes(StandardCharsets.UTF_8);
        int padded = (json.length + 7) & ~7;
        var head = new byte[LENGTH_BYTES + padded];
        Arrays.fill(head, (byte) ' ');
        ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).putLong(padded).put(json);
        return head;
    }
}
