package io.metalora.model;

/** How frozen weights are held. Arithmetic is the device's whatever the storage. */
public enum WeightStorage {
    /**
     * BF16 where the checkpoint is BF16, which loses nothing and halves the memory, and where products take operands in BF16
     * ({@link io.metalora.runtime.Device#multipliesInBf16}); else F32.
     */
    AUTO,
    F32,
    /** F32 and F16 sources are rounded. */
    BF16
}
