package io.metalora.runtime;

/** Which CPU kernels run. AUTO takes the fastest that this processor has; results of two sets differ by rounding. */
public enum InstructionSet {
    AUTO,
    /** Plain C++, for any processor. */
    PORTABLE,
    /** AVX2 and FMA. */
    AVX2,
    /** AVX-512 F, BW, DQ and VL. */
    AVX512
}
