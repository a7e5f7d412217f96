package io.metalora.runtime;

import java.lang.foreign.MemorySegment;

/** A matrix [out, in] that never changes, stored the way the device's kernels want it. */
public final class FrozenWeight implements AutoCloseable {
    private final Device device;
    private final DType storage;
    private final long outFeatures;
    private final long inFeatures;
    private final MemorySegment handle;
    private boolean closed;

    FrozenWeight(Device device, DType storage, long outFeatures, long inFeatures, MemorySegment handle) {
        this.device = device;
        this.storage = storage;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.handle = handle;
    }

    public long outFeatures() {
        return outFeatures;
    }

    public long inFeatures() {
        return inFeatures;
    }

    /** How the values are held: F32 or BF16. */
    public DType storage() {
        return storage;
    }

    @Override
    public void close() {
        if (!closed && !device.isClosed()) {
            try (var _ = device.turn()) {
                free();
            }
        }
    }

    /** For who has the device's turn. */
    void free() {
        if (!closed) {
            device.free(this, handle);
            closed = true;
        }
    }

    MemorySegment handle() {
        if (closed) {
            throw new IllegalStateException("the weight [" + outFeatures + ", " + inFeatures + "] is closed");
        }
        return handle;
    }

    Device device() {
        return device;
    }
}
