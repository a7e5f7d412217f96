package io.metalora.runtime;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;

/**
 * Values outside device memory, row-major and read-only: a Java array, or a range of a {@link DataFile}, which is read each time
 * it is used and can be used until the file is closed.
 *
 * @see DataFile what reading throws if the file can no longer be read
 */
public final class HostTensor {
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    /** Bytes that are widened at a time: as many as a file channel keeps a buffer for. */
    private static final int PIECE = 1 << 16;

    /** Fills memory with the bytes from {@code offset} on. */
    @FunctionalInterface
    interface Source {
        void read(long offset, MemorySegment to);
    }

    private final String name;
    private final DType dtype;
    private final long[] shape;
    private final long elements;
    private final Source source;

    HostTensor(String name, DType dtype, long[] shape, Source source) {
        this.name = Objects.requireNonNull(name, "name");
        this.dtype = dtype;
        this.shape = shape.clone();
        this.elements = Shapes.elements(name, shape);
        this.source = source;
    }

    /** An F32 tensor over {@code values}, which is not copied. */
    public static HostTensor of(String name, float[] values, long... shape) {
        var data = MemorySegment.ofArray(values);
        var tensor = new HostTensor(name, DType.F32, shape, (at, to) -> to.copyFrom(data.asSlice(at, to.byteSize())));
        if (values.length != tensor.elements) {
            throw new IllegalArgumentException(
                    name + ": " + values.length + " values for shape " + Arrays.toString(shape));
        }
        return tensor;
    }

    /** Makes a row of a matrix. */
    @FunctionalInterface
    public interface Rows {

        /** Fills {@code to} with the values of a row. */
        void fill(long row, float[] to);
    }

    /**
     * A matrix [rows, columns] of weights whose rows are made, and rounded to the type, each time they are used: so that one of
     * any size takes the memory of a row.
     *
     * @param dtype F32, BF16 or F16
     */
    public static HostTensor ofRows(String name, DType dtype, long rows, int columns, Rows source) {
        var values = new float[columns];
        var bytes = MemorySegment.ofArray(new byte[columns * dtype.bytes()]);
        return new HostTensor(name, dtype, new long[] {rows, columns}, (at, to) -> {
            long rowBytes = bytes.byteSize();
            for (long done = 0; done < to.byteSize(); ) {
                long within = (at + done) % rowBytes;
                long n = Math.min(rowBytes - within, to.byteSize() - done);
                source.fill((at + done) / rowBytes, values);
                narrow(name, dtype, values, bytes);
                MemorySegment.copy(bytes, within, to, done, n);
                done += n;
            }
        });
    }

    private static void narrow(String name, DType dtype, float[] values, MemorySegment to) {
        switch (dtype) {
            case F32 -> MemorySegment.copy(values, 0, to, FLOAT, 0, values.length);
            case BF16 -> {
                for (int i = 0; i < values.length; i++) {
                    to.set(SHORT, 2L * i, Bfloat16.round(values[i]));
                }
            }
            case F16 -> {
                for (int i = 0; i < values.length; i++) {
                    to.set(SHORT, 2L * i, Float.floatToFloat16(values[i]));
                }
            }
            case I32, F64 -> throw new IllegalArgumentException(name + ": " + dtype + " is not a type of a weight");
        }
    }

    public String name() {
        return name;
    }

    public DType dtype() {
        return dtype;
    }

    public long[] shape() {
        return shape.clone();
    }

    public long elements() {
        return elements;
    }

    public long bytes() {
        return elements * dtype.bytes();
    }

    /** The values widened to float. */
    public float[] toFloats() {
        if (elements > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException(name + ": " + elements + " elements do not fit a Java array");
        }
        var out = new float[(int) elements];
        copyFloats(0, out);
        return out;
    }

    /** Fills {@code out} with the values from element {@code start} on, widened to float. */
    public void copyFloats(long start, float[] out) {
        int most = PIECE / dtype.bytes();
        var piece = MemorySegment.ofArray(new byte[Math.min(most, out.length) * dtype.bytes()]);
        for (int from = 0; from < out.length; from += most) {
            int n = Math.min(most, out.length - from);
            read((start + from) * dtype.bytes(), piece.asSlice(0, (long) n * dtype.bytes()));
            widen(piece, out, from, n);
        }
    }

    /** Values of this type, which begin at the start of {@code data}, as floats {@code [from, from + n)} of {@code out}. */
    private void widen(MemorySegment data, float[] out, int from, int n) {
        switch (dtype) {
            case F32 -> MemorySegment.copy(data, FLOAT, 0, out, from, n);
            case BF16 -> {
                for (int i = 0; i < n; i++) {
                    out[from + i] = Float.intBitsToFloat(data.get(SHORT, 2L * i) << 16);
                }
            }
            case F16 -> {
                for (int i = 0; i < n; i++) {
                    out[from + i] = Float.float16ToFloat(data.get(SHORT, 2L * i));
                }
            }
            case I32, F64 -> throw new IllegalArgumentException(name + ": " + dtype + " is not a type of a weight");
        }
    }

    /** The first value that is a NaN or an infinity, in words ("NaN at element 7"); empty where all are finite. */
    public Optional<String> firstNotFinite() {
        var piece = MemorySegment.ofArray(new byte[(int) Math.min(PIECE, bytes())]);
        var values = new float[(int) (piece.byteSize() / dtype.bytes())];
        for (long from = 0; from < elements; from += values.length) {
            int n = (int) Math.min(values.length, elements - from);
            read(from * dtype.bytes(), piece.asSlice(0, (long) n * dtype.bytes()));
            widen(piece, values, 0, n);
            for (int i = 0; i < n; i++) {
                if (!Float.isFinite(values[i])) {
                    return Optional.of(values[i] + " at element " + (from + i));
                }
            }
        }
        return Optional.empty();
    }

    /** Copies bytes {@code [offset, offset + count)} of the row-major data, as they are stored, into {@code out}. */
    public void copyBytes(long offset, byte[] out, int outOffset, int count) {
        read(offset, MemorySegment.ofArray(out).asSlice(outOffset, count));
    }

    /** Fills {@code to} with the bytes from {@code offset} on, as they are stored. */
    void read(long offset, MemorySegment to) {
        Objects.checkFromIndexSize(offset, to.byteSize(), bytes());
        source.read(offset, to);
    }

    @Override
    public String toString() {
        return name + " " + dtype + Arrays.toString(shape);
    }
}
