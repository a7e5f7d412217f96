package io.metalora.runtime.op;

import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.MemorySegment;

/**
 * Access to a device and its memory that ops need and users must not have, so that {@code io.metalora.runtime} need not expose
 * it. {@link Device} provides it before the first device is opened.
 */
public abstract class DeviceAccess {
    private static volatile DeviceAccess given;

    /** Called once, by {@link Device}. */
    public static void give(DeviceAccess access) {
        given = access;
    }

    static DeviceAccess get() {
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
}
