package io.metalora.runtime;

/** Element types of tensors. */
public enum DType {
    F32(4),
    BF16(2),
    F16(2),
    I32(4),
    F64(8);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes of one element. */
    public int bytes() {
        return bytes;
    }
}
