package io.metalora.runtime;

import java.util.Objects;

/**
 * How to open a {@link Device}.
 *
 * @param threads     CPU worker threads, the caller's included; 0 = all physical cores
 * @param isa         "portable", "avx2" or "avx512" forces a CPU path; null = the best one here
 * @param activations element type of activations: F32, or on CUDA BF16; null = BF16 on CUDA, F32 on the CPU
 */
public record DeviceOptions(Backend backend, int threads, String isa, DType activations) {
    public DeviceOptions {
        Objects.requireNonNull(backend, "backend");
        if (threads < 0) {
            throw new InputException("threads is " + threads + "; give a positive number, or 0 for all cores");
        }
    }

    /** With the best path and the usual activations of the backend that is taken. */
    public DeviceOptions(Backend backend, int threads) {
        this(backend, threads, null, null);
    }

    public static DeviceOptions cpu() {
        return new DeviceOptions(Backend.CPU, 0);
    }
}
