package io.metalora.runtime;

import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.generated.Metalora;
import java.lang.foreign.MemorySegment;

/** A matrix [out, in] that never changes, in the layout that the device's kernels use. */
public final class FrozenWeight extends NativeHandle {
    private final DType storage;
    private final long outFeatures;
    private final long inFeatures;
    private final long bytes;

    FrozenWeight(Device device, DType storage, long outFeatures, long inFeatures, long bytes, MemorySegment handle) {
        super(device, handle);
        this.storage = storage;
        this.outFeatures = outFeatures;
        this.inFeatures = inFeatures;
        this.bytes = bytes;
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

    /** What it holds on the device. */
    long bytes() {
        return bytes;
    }

    @Override
    void destroy(MemorySegment handle) {
        NativeLibrary.check(Metalora.ml_weight_destroy(device().context(), handle));
    }

    @Override
    String what() {
        return "the weight [" + outFeatures + ", " + inFeatures + "]";
    }
}
