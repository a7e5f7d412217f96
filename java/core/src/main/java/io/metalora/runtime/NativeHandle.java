package io.metalora.runtime;

import java.lang.foreign.MemorySegment;

/** Something of a device's that is told by a handle: closed once, and with the device where it still is open then. */
abstract sealed class NativeHandle implements AutoCloseable permits FrozenWeight, Graph {
    private final Device device;
    private final MemorySegment handle;
    private boolean closed;

    NativeHandle(Device device, MemorySegment handle) {
        this.device = device;
        this.handle = handle;
    }

    /** Gives the handle back, for who has the device's turn. */
    abstract void destroy(MemorySegment handle);

    /** What this is, in words that an error begins with. */
    abstract String what();

    final Device device() {
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

    /** For who has the device's turn. */
    final void free() {
        if (!closed) {
            destroy(handle);
            device.forget(this);
            closed = true;
        }
    }
}
