package io.metalora.runtime;

import org.junit.jupiter.api.Assumptions;

/**
 * The CUDA backend for tests: a GPU, or the kernels compiled for the CPU where METALORA_CUDA_LIBRARY names them. Skips
 * where there is neither.
 */
public final class CudaDevice {
    private CudaDevice() {
    }

    public static Device open(DType activations) {
        try {
            return Device.open(new DeviceOptions(Backend.CUDA, 0, null, activations));
        } catch (InputException unavailable) {
            return Assumptions.abort(unavailable.getMessage());
        }
    }
}
