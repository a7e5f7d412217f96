package io.metalora.runtime;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Objects;

/**
 * Values in host memory, row-major: a range of a {@link MappedFile}, or a Java array. Read-only. One that was read
 * from a file is usable until the file is closed.
 */
public final class HostTensor {
    private static final ValueLayout.OfFloat FLOAT =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort SHORT =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private final String name;
    private final DType dtype;
    private final long[] shape;
    private final long elements;
    private final MemorySegment data;

    HostTensor(String name, DType dtype, long[] shape, MemorySegment data) {
        this.name = Objects.requireNonNull(name, "name");
        this.dtype = dtype;
        this.shape = shape.clone();
        this.elements = Shapes.elements(name, shape);
        this.data = data.asReadOnly();
        if (data.byteSize() != elements * dtype.bytes()) {
            throw new IllegalArgumentException(name + ": " + data.byteSize() + " bytes for shape "
                    + Arrays.toString(shape) + " of " + dtype);
        }
    }

    /** An F32 tensor over {@code values}, which is not copied. */
    public static HostTensor of(String name, float[] values, long... shape) {
        return new HostTensor(name, DType.F32, shape, MemorySegment.ofArray(values));
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
        return data.byteSize();
    }

    /** The values widened to float. */
    public float[] toFloats() {
        if (elements > Integer.MAX_VALUE - 8) {
            throw new IllegalArgumentException(name + ": " + elements + " elements do not fit a Java array");
        }
        var out = new float[(int) elements];
        switch (dtype) {
            case F32 -> MemorySegment.copy(data, FLOAT, 0, out, 0, out.length);
            case BF16 -> {
                for (int i = 0; i < out.length; i++) {
                    out[i] = Float.intBitsToFloat(data.get(SHORT, 2L * i) << 16);
                }
            }
            case F16 -> {
                for (int i = 0; i < out.length; i++) {
                    out[i] = Float.float16ToFloat(data.get(SHORT, 2L * i));
                }
            }
            case I32, F64 -> throw new IllegalArgumentException(name + ": " + dtype + " is no type of a weight");
        }
        return out;
    }

    /** Copies bytes {@code [offset, offset + count)} of the row-major data, as they are stored, into {@code out}. */
    public void copyBytes(long offset, byte[] out, int outOffset, int count) {
        MemorySegment.copy(data, ValueLayout.JAVA_BYTE, offset, out, outOffset, count);
    }

    MemorySegment data() {
        return data;
    }

    @Override
    public String toString() {
        return name + " " + dtype + Arrays.toString(shape);
    }
}
