package io.metalora.model;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * Where buffers come from: a device, or nowhere, when only their bytes are to be counted. One constructor of buffers
 * thus gives both the buffers and their estimate.
 */
final class Memory implements AutoCloseable {
    private final Device device; // null: count
    private final DType activation;
    private final List<Tensor> owned = new ArrayList<>();
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

    /** Whether there are no buffers, only their bytes. */
    boolean counts() {
        return device == null;
    }

    long bytes() {
        return bytes;
    }

    /** What {@code make} makes with these buffers, which go where it fails. */
    <T> T orClose(Supplier<T> make) {
        try {
            return make.get();
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    private Tensor tensor(DType dtype, long... shape) {
        long size = dtype.bytes();
        for (long d : shape) {
            size = Math.multiplyExact(size, d);
        }
        bytes = MemoryEstimate.sum(bytes, size);
        if (device == null) {
            return null;
        }
        var tensor = orClose(() -> device.zeros(dtype, shape));
        owned.add(tensor);
        return tensor;
    }

    @Override
    public void close() {
        owned.forEach(Tensor::close);
        owned.clear();
    }
}
