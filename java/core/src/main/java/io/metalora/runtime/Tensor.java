package io.metalora.runtime;

import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.generated.Metalora;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Values in device memory, row-major. A tensor from {@link Device#zeros} is dense and owns its memory
 * until {@link #close}; a {@link #view} or {@link #columns} shares the memory of its tensor and has nothing to close. Columns are
 * not dense: there are gaps between their rows, and only ops that say so take them.
 */
public final class Tensor implements AutoCloseable {
    private final Device device;
    private final DType dtype;
    private final long[] shape;
    private final long elements;
    /** Null until it is asked for, of a planned tensor until {@link #allocate}. */
    private MemorySegment pointer;
    /** Bytes from the start of the owner's memory. */
    private final long offset;
    /** Elements from row to row; 0: dense. */
    private final long stride;
    /** Columns behind each row that an op may write to. */
    private final long spare;
    /** The tensor whose memory this is: itself, unless it is a view. */
    private final Tensor owner;

    private boolean closed;

    Tensor(Device device, DType dtype, long[] shape, MemorySegment pointer) {
        this.device = device;
        this.dtype = dtype;
        this.shape = shape.clone();
        this.elements = Shapes.elements("tensor", shape);
        this.pointer = pointer;
        this.offset = 0;
        this.stride = 0;
        this.spare = 0;
        this.owner = this;
    }

    private Tensor(Tensor owner, long[] shape, long elements, long offset, long stride, long spare) {
        this.device = owner.device;
        this.dtype = owner.dtype;
        this.shape = shape.clone();
        this.elements = elements;
        this.offset = offset;
        this.stride = stride;
        this.spare = spare;
        this.owner = owner;
    }

    /**
     * Allocates the memory of a {@link Device#planned} tensor, filled with zeros.
     *
     * @throws IllegalStateException if it has memory already, is closed, or is a view
     */
    void allocate() {
        requireOpen();
        if (owner != this || pointer != null) {
            throw new IllegalStateException("the tensor " + this + (owner == this ? " has its memory" : " is a view of another"));
        }
        pointer = device.allocate(this);
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

    public Device device() {
        return device;
    }

    /** Copies {@code values}, one per element, to the device; a BF16 tensor takes them rounded. */
    public void upload(float[] values) {
        if (values.length != elements) {
            throw new IllegalArgumentException(values.length + " values for the tensor " + this);
        }
        upload(values, values.length);
    }

    /** Copies the first {@code count} of {@code values} over the first {@code count} elements. */
    public void upload(float[] values, int count) {
        transfer(values, DType.F32, count, values.length, true);
    }

    /** Copies the first {@code count} of {@code values} over the first {@code count} elements. */
    public void upload(int[] values, int count) {
        transfer(values, DType.I32, count, values.length, true);
    }

    /** Copies the first {@code out.length} elements to the host; those of a BF16 tensor are widened. */
    public void download(float[] out) {
        download(out, out.length);
    }

    /** Copies the first {@code count} elements to the host. */
    public void download(float[] out, int count) {
        transfer(out, DType.F32, count, out.length, false);
    }

    /** Copies the first {@code count} elements to the host. */
    public void download(int[] out, int count) {
        transfer(out, DType.I32, count, out.length, false);
    }

    /** Copies the first {@code out.length} elements to the host. */
    public void download(double[] out) {
        transfer(out, DType.F64, out.length, out.length, false);
    }

    /** All elements of an F32 or BF16 tensor. */
    public float[] toFloats() {
        var out = new float[Math.toIntExact(elements)];
        download(out);
        return out;
    }

    /** Copies {@code count} elements of {@code source} from {@code sourceOffset} on to {@code offset} on here. */
    public void copyFrom(Tensor source, long sourceOffset, long offset, long count) {
        if (source.dtype != dtype || source.device != device) {
            throw new IllegalArgumentException("cannot copy " + source + " to " + this + " element by element");
        }
        source.requireRange(sourceOffset, count);
        requireRange(offset, count);
        try (var _ = device.turn()) {
            NativeLibrary.check(Metalora.ml_copy(
                    device.context(), at(offset), source.at(sourceOffset), count * dtype.bytes()));
        }
    }

    /**
     * Copies {@code rows} rows of {@code source} from {@code sourceRow} on to row {@code row} on; both are matrices of that
     * width. The rows that are read and those that are written may not overlap.
     */
    public void copyRows(Tensor source, long sourceRow, long row, long rows) {
        if (source.dtype != dtype || source.device != device || source.width() != width()) {
            var differs = source.device != device ? "device" : source.dtype != dtype ? "type" : "width";
            throw new IllegalArgumentException("cannot copy rows of " + source + " to " + this + " of another " + differs);
        }
        if (row < 0 || rows < 0 || sourceRow < 0 || rows > source.shape[0] - sourceRow || rows > shape[0] - row) {
            throw new IndexOutOfBoundsException(
                    rows + " rows of " + source + " from row " + sourceRow + " on to row " + row + " of " + this);
        }
        if (rows > 0 && Math.max(start(row), source.start(sourceRow)) < Math.min(end(row + rows), source.end(sourceRow + rows))) {
            throw new IllegalArgumentException("cannot copy " + rows + " rows of " + source + " from row " + sourceRow
                    + " on to row " + row + " of " + this + ": they overlap");
        }
        long size = dtype.bytes();
        try (var _ = device.turn()) {
            var to = MemorySegment.ofAddress(start(row));
            var from = MemorySegment.ofAddress(source.start(sourceRow));
            if (stride == 0 && source.stride == 0) {
                NativeLibrary.check(Metalora.ml_copy(device.context(), to, from, rows * width() * size));
            } else {
                NativeLibrary.check(Metalora.ml_copy_rows(
                        device.context(), to, rowStride() * size, from, source.rowStride() * size,
                        width() * size, rows));
            }
        }
    }

    /** A view of this shape on the elements from {@code elementOffset} on. */
    public Tensor view(long elementOffset, long... shape) {
        long count = Shapes.elements("view", shape);
        requireRange(elementOffset, count);
        requireOpen();
        return new Tensor(owner, shape, count, offset + elementOffset * dtype.bytes(), 0, 0);
    }

    /** A view of {@code width} columns of this matrix, from {@code first} on. */
    public Tensor columns(long first, long width) {
        return columns(first, width, 0);
    }

    /** A view of the first {@code width} columns of this matrix; ops that use spare columns may write to those behind them. */
    public Tensor withSpare(long width) {
        return columns(0, width, width() - width);
    }

    private Tensor columns(long first, long width, long spare) {
        if (first < 0 || width < 1 || width > width() - first) {
            throw new IndexOutOfBoundsException("columns [" + first + ", " + (first + width) + ") of " + this);
        }
        if (width == width()) {
            return this;
        }
        requireOpen();
        return new Tensor(owner, new long[] {shape[0], width}, shape[0] * width, offset + first * dtype.bytes(), rowStride(), spare);
    }

    /** The first dimension. */
    public long rows() {
        return shape[0];
    }

    /** Elements of a row: all dimensions but the first. */
    public long width() {
        return shape[0] == 0 ? 0 : elements / shape[0];
    }

    private long rowStride() {
        return stride == 0 ? width() : stride;
    }

    /** Address of a row. */
    private long start(long row) {
        return pointer().address() + row * rowStride() * dtype.bytes();
    }

    /** Where the row before {@code row} ends. */
    private long end(long row) {
        return start(row - 1) + width() * dtype.bytes();
    }

    /** Elements from row to row as the native descriptors have it: 0 where rows are dense. */
    public long stride() {
        return stride;
    }

    /** Columns behind each row that an op may write to. */
    public long spare() {
        return spare;
    }

    @Override
    public void close() {
        if (owner == this && !closed && !device.isClosed()) {
            try (var _ = device.turn()) {
                free();
            }
        }
    }

    /** The caller holds the device. */
    void free() {
        if (!closed) {
            if (pointer != null) {
                device.free(this, pointer);
            }
            closed = true;
        }
    }

    @Override
    public String toString() {
        return dtype + Arrays.toString(shape);
    }

    MemorySegment pointer() {
        requireOpen();
        if (pointer == null) {
            if (owner.pointer == null) {
                throw new IllegalStateException("the tensor " + this + " is planned only; it has no memory yet");
            }
            pointer = MemorySegment.ofAddress(owner.pointer.address() + offset);
        }
        return pointer;
    }

    private void requireOpen() {
        if (owner.closed) {
            throw new IllegalStateException("the tensor " + this + " is closed");
        }
    }

    private MemorySegment at(long elementOffset) {
        return elementOffset == 0
                ? pointer()
                : MemorySegment.ofAddress(pointer().address() + elementOffset * dtype.bytes());
    }

    private void requireRange(long offset, long count) {
        if (stride != 0) {
            throw new IllegalArgumentException("the columns " + this + " are not one piece of memory");
        }
        if (offset < 0 || count < 0 || count > elements - offset) {
            throw new IndexOutOfBoundsException(
                    "elements [" + offset + ", " + (offset + count) + ") of the tensor " + this);
        }
    }

    /** Moves {@code count} values between an array and the device, a piece of the staging memory at a time. */
    private void transfer(Object array, DType arrayType, int count, int length, boolean toDevice) {
        if (arrayType != dtype && !(dtype == DType.BF16 && array instanceof float[])) {
            throw new IllegalArgumentException("values of " + arrayType + " for the tensor " + this);
        }
        if (count > length) {
            throw new IndexOutOfBoundsException(count + " values of an array of " + length);
        }
        requireRange(0, count);
        var staging = device.staging();
        var layout = switch (arrayType) {
            case F32 -> ValueLayout.JAVA_FLOAT;
            case F64 -> ValueLayout.JAVA_DOUBLE;
            case I32 -> ValueLayout.JAVA_INT;
            case BF16, F16 -> throw new AssertionError(arrayType);
        };
        int most = (int) (staging.byteSize() / dtype.bytes());
        try (var _ = device.turn()) {
            if (device.isPlanning()) {
                return;
            }
            for (int from = 0; from < count; from += most) {
                int n = Math.min(most, count - from);
                long bytes = (long) n * dtype.bytes();
                if (toDevice) {
                    if (dtype == DType.BF16) {
                        Bfloat16.round((float[]) array, from, staging, n);
                    } else {
                        MemorySegment.copy(array, from, staging, layout, 0, n);
                    }
                    NativeLibrary.check(Metalora.ml_upload(device.context(), at(from), staging, bytes));
                } else {
                    NativeLibrary.check(Metalora.ml_download(device.context(), staging, at(from), bytes));
                    if (dtype == DType.BF16) {
                        Bfloat16.widen(staging, (float[]) array, from, n);
                    } else {
                        MemorySegment.copy(staging, layout, 0, array, from, n);
                    }
                }
            }
        }
    }
}
