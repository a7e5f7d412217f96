package io.metalora.runtime;

import java.lang.foreign.MemorySegment;

/** Something of a device that is identified by a handle: closed once, at the latest with the device. */
abstract sealed class NativeHandle implements AutoCloseable permits FrozenWeight, Graph {
    private final Device device;
    private final MemorySegment handle;
    private boolean closed;

    NativeHandle(Device device, MemorySegment handle) {
        this.device = device;
        this.handle = handle;
    }

    /** Frees the handle; the caller holds the device. */
    abstract void destroy(MemorySegment handle);

    /** What this is, for the start of an error's text. */
    abstract String what();

    public final Device device() {
        return device;
    }

    final MemorySegment handle() {
        if (closed) {
            throw new IllegalStateException(what() + " is closed");
        }
        return handle;
    }

    @Override
    public final void close() {
        if (!closed && !device.isClosed()) {
            try (var _ = device.turn()) {
                free();
            }
        }
    }

    /** The caller holds the device. */
    final void free() {
        if (!closed) {
            destroy(handle);
            device.forget(this);
            closed = true;
        }
    }
}
