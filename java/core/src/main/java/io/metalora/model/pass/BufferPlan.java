package io.metalora.model.pass;

import io.metalora.model.MemoryEstimate;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.DeviceAccess;
import java.util.ArrayList;
import java.util.List;

/**
 * Buffers that are allocated together: first laid out, which gives their size, then allocated. What a pass will hold is thus
 * known before any of it is allocated, from the code that lays it out.
 */
public final class BufferPlan implements AutoCloseable {
    private final Device device;
    private final List<Tensor> tensors = new ArrayList<>();
    private final Held held = new Held();
    private long bytes;

    public BufferPlan(Device device) {
        this.device = device;
    }

    public Device device() {
        return device;
    }

    /** A buffer in the activation type. */
    public Tensor activation(long... shape) {
        return tensor(device.activationType(), shape);
    }

    /** Rows of activations that go into a Linear, with columns behind them that the op may use. */
    public Tensor rows(long rows, long width, long spare) {
        return activation(rows, width + spare).withSpare(width);
    }

    public Tensor floats(long... shape) {
        return tensor(DType.F32, shape);
    }

    public Tensor doubles(long... shape) {
        return tensor(DType.F64, shape);
    }

    public Tensor ints(long... shape) {
        return tensor(DType.I32, shape);
    }

    private Tensor tensor(DType dtype, long... shape) {
        bytes = MemoryEstimate.sum(bytes, MemoryEstimate.product(dtype.bytes(), MemoryEstimate.product(shape)));
        var tensor = DeviceAccess.get().planned(device, dtype, shape);
        tensors.add(tensor);
        return tensor;
    }

    /** Of all buffers; Long.MAX_VALUE where they are more than that. */
    public long bytes() {
        return bytes;
    }

    /**
     * Allocates all buffers, filled with zeros, or, if that fails, none.
     *
     * @return this
     */
    public BufferPlan allocate() {
        for (var tensor : tensors) {
            held.add(() -> {
                DeviceAccess.get().allocate(tensor);
                return tensor;
            }, Tensor::close);
        }
        return this;
    }

    /** Frees all buffers after a failure; if that fails too, it is added to the failure as suppressed. */
    public void closeAfter(Throwable failure) {
        held.closeAfter(failure);
    }

    @Override
    public void close() {
        held.close();
    }
}
