package io.metalora.runtime;

/** Where ops run. AUTO takes CUDA where it can run and the CPU elsewhere. */
public enum Backend {
    AUTO,
    CPU,
    CUDA
}
