package io.metalora.runtime;

import io.metalora.bindings.generated.Metalora;
import java.util.Objects;

/**
 * How to open a {@link Device}.
 *
 * @param threads     CPU threads that compute, the caller's included, up to {@link #MAX_THREADS}; 0 = all physical cores
 * @param isa         which CPU kernels; ignored on a GPU
 * @param arithmetic  of products with frozen weights; ignored on a GPU
 * @param activations element type of activations: F32, or on CUDA BF16; null = BF16 on CUDA, F32 on the CPU
 * @param whenBusy    what happens to a second thread's call
 */
public record DeviceOptions(Backend backend, int threads, InstructionSet isa, Arithmetic arithmetic, DType activations,
        WhenBusy whenBusy) {
    /** The most CPU threads of a device. */
    public static final int MAX_THREADS = Metalora.ML_MAX_THREADS();

    public DeviceOptions {
        Objects.requireNonNull(backend, "backend");
        Objects.requireNonNull(isa, "isa");
        Objects.requireNonNull(arithmetic, "arithmetic");
        Objects.requireNonNull(whenBusy, "whenBusy");
        if (threads < 0 || threads > MAX_THREADS) {
            throw new InputException("threads is " + threads + "; give a number from 1 to " + MAX_THREADS + ", or 0 for all cores");
        }
    }

    /** With {@link Arithmetic#FP32} and {@link WhenBusy#REFUSE}. */
    public DeviceOptions(Backend backend, int threads, InstructionSet isa, DType activations) {
        this(backend, threads, isa, Arithmetic.FP32, activations, WhenBusy.REFUSE);
    }

    /** With the backend's default type of activations. */
    public DeviceOptions(Backend backend, int threads, InstructionSet isa) {
        this(backend, threads, isa, null);
    }

    /** And with the fastest kernels. */
    public DeviceOptions(Backend backend, int threads) {
        this(backend, threads, InstructionSet.AUTO);
    }

    /** A copy with this {@code whenBusy}, such as {@link WhenBusy#WAIT} for a device that several threads share. */
    public DeviceOptions withWhenBusy(WhenBusy whenBusy) {
        return new DeviceOptions(backend, threads, isa, arithmetic, activations, whenBusy);
    }

    /** A copy with this {@code arithmetic}. */
    public DeviceOptions withArithmetic(Arithmetic arithmetic) {
        return new DeviceOptions(backend, threads, isa, arithmetic, activations, whenBusy);
    }

    /** The CPU with all physical cores and its fastest kernels. */
    public static DeviceOptions cpu() {
        return new DeviceOptions(Backend.CPU, 0);
    }
}
