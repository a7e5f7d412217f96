package io.metalora.runtime;

/**
 * What a {@link Device} is and holds.
 *
 * @param reason      why this backend was chosen, and why not another
 * @param isa         instruction set in use
 * @param isaReason   why that one
 * @param blas        BLAS behind the frozen GEMM, with its version; or "none (own kernels)"
 * @param memoryTotal bytes of the device
 * @param memoryInUse bytes held through this device
 * @param memoryPeak  the highest memoryInUse so far
 * @param memoryFree  bytes that can still be taken: of a GPU, what nobody holds, or -1 where the driver could not tell; -1
 *                    for the CPU, where {@link SystemMemory#available} tells
 */
public record DeviceInfo(
        Backend backend,
        String reason,
        int threads,
        String isa,
        String isaReason,
        String blas,
        String deviceName,
        long memoryTotal,
        long memoryInUse,
        long memoryPeak,
        long memoryFree) {}
