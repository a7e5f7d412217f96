package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/** AdamW (Loshchilov and Hutter 2019), as {@code torch.optim.AdamW}. */
public record AdamW(float lr, float beta1, float beta2, float eps, float weightDecay) {
    /**
     * What a step reads and writes, F32 vectors of one layout.
     *
     * @param m the mean of the gradients
     * @param v the mean of their squares
     */
    public record Vectors(Tensor parameter, Tensor gradient, Tensor m, Tensor v) {}
}
