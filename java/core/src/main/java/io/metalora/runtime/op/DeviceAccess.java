package io.metalora.runtime.op;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Graph;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * What a model and its ops do with a device and users have no use for, so that {@code io.metalora.runtime} need not expose it.
 * {@link Device} provides it before the first device is opened.
 */
public abstract class DeviceAccess {
    private static volatile DeviceAccess given;

    /** Called once, by {@link Device}. */
    public static void give(DeviceAccess access) {
        given = access;
    }

    /** There is one once a device has been opened. */
    public static DeviceAccess get() {
        return given;
    }

    /** Held for a call; closing it gives the device back. */
    @FunctionalInterface
    public interface Turn extends AutoCloseable {
        @Override
        void close();
    }

    /** Takes the device for a call; descriptors are written only then. */
    protected abstract Turn turn(Device device);

    /** The native context. */
    protected abstract MemorySegment context(Device device);

    /** The ops of the device, made with it. */
    protected abstract Ops ops(Device device);

    /** The address of the values; refused once the tensor is closed. */
    protected abstract MemorySegment pointer(Tensor tensor);

    /** The native weight; refused once it is closed. */
    protected abstract MemorySegment handle(FrozenWeight weight);

    /** Bytes of the ops' scratch memory (workspace): part of {@code DeviceInfo.memoryInUse}, kept and used again by later ops. */
    public abstract long scratchBytes(Device device);

    /** A tensor without memory, until {@link #allocate}: it has its size and can be viewed and passed on, but not used. */
    public abstract Tensor planned(Device device, DType dtype, long... shape);

    /**
     * Allocates the memory of a planned tensor, filled with zeros.
     *
     * @throws IllegalStateException if it has some, is closed, or is a view
     */
    public abstract void allocate(Tensor planned);

    /**
     * Stacks matrices [out, in] that read the same input into one weight, in the layout of the device's kernels.
     *
     * @param storage        F32 or BF16
     * @param adapterColumns columns to reserve beside the weight for the adapters of one product (the K-tail), where {@link
     *                       #gainsByAdapterRoom}; 0: the default
     */
    public abstract FrozenWeight freeze(Device device, List<HostTensor> sources, DType storage, long adapterColumns);

    /** Bytes that {@link #freeze} will hold for matrices of together this shape. */
    public abstract long frozenBytes(Device device, DType storage, long outFeatures, long inFeatures, long adapterColumns);

    /** Whether Linears of one input are faster as one weight. */
    public abstract boolean gainsByStacking(Device device);

    /** Whether LoRA linears are faster with room for their adapters beside the weight and behind the rows of its input. */
    public abstract boolean gainsByAdapterRoom(Device device);

    /** Whether the device has memory of its own: {@code DeviceInfo.memoryFree} says how much of it is left. */
    public abstract boolean hasOwnMemory(Device device);

    /** Whether ops can be recorded, by {@link #record}, and planned, by {@link #plan}. */
    public abstract boolean canRecord(Device device);

    /**
     * Records the ops that {@code ops} calls, without running them. They must have run once before. Until it returns, no tensor
     * of the device can be made, closed, uploaded or downloaded, and other threads are refused.
     */
    public abstract Graph record(Device device, Runnable ops);

    /**
     * Reserves scratch memory for the ops that {@code ops} calls: they are checked and counted, not run, and need no more when
     * they do run.
     *
     * @return bytes that the largest of them takes; 0 unless {@link #canRecord}: ops then take memory as they run, and {@code
     *         ops} is not called
     */
    public abstract long plan(Device device, Runnable ops);
}
