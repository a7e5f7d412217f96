package io.metalora.runtime;

/** What the products with frozen weights are computed in on the CPU. On CUDA it follows the activations' type. */
public enum Arithmetic {
    /** Floats. */
    FP32,
    /**
     * Weights that are held in BF16 multiply activations rounded to BF16; sums, adapters and all else are in floats. It is faster
     * where the processor has AVX512_BF16 and the kernels are {@link InstructionSet#AVX512}; elsewhere it rounds in the same way.
     */
    BF16
}
