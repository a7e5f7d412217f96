package io.metalora.model;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;

/**
 * Where buffers come from: a device, or nowhere, when only their bytes are to be counted. One constructor of buffers
 * thus gives both the buffers and their estimate.
 */
final class Memory implements AutoCloseable {
    private final Device device; // null: count
    private final DType activation;
    private final Held held = new Held();
    private long bytes;

    private Memory(Device device, DType activation) {
        this.device = device;
        this.activation = activation;
    }

    static Memory of(Device device) {
        return new Memory(device, device.activationType());
    }

    /** Gives null tensors and counts their bytes. */
    static Memory counting(Device device) {
        return new Memory(null, device.activationType());
    }

    /** A buffer in the activation type. */
    Tensor activation(long... shape) {
        return tensor(activation, shape);
    }

    /** Rows of activations that go into a Linear, with columns behind them that the op may use. */
    Tensor rows(long rows, long width, long spare) {
        var all = activation(rows, width + spare);
        return all == null ? null : all.withSpare(width);
    }

    /** Columns of a matrix, or null where only bytes are counted. */
    static Tensor columns(Tensor matrix, long first, long width) {
        return matrix == null ? null : matrix.columns(first, width);
    }

    Tensor floats(long... shape) {
        return tensor(DType.F32, shape);
    }

    Tensor ints(long... shape) {
        return tensor(DType.I32, shape);
    }

    /** Long.MAX_VALUE where they are more than that. */
    long bytes() {
        return bytes;
    }

    /** Gives all back after a failure, which is the one to be thrown. */
    void closeAfter(Throwable failure) {
        held.closeAfter(failure);
    }

    /** Whether buffers are made, and not only counted. */
    boolean holds() {
        return device != null;
    }

    private Tensor tensor(DType dtype, long... shape) {
        bytes = MemoryEstimate.sum(bytes, MemoryEstimate.product(dtype.bytes(), MemoryEstimate.product(shape)));
        return holds() ? held.add(() -> device.zeros(dtype, shape), Tensor::close) : null;
    }

    @Override
    public void close() {
        held.close();
    }
}
