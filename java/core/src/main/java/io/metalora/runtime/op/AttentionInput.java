package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * What attention reads, or its gradients, laid out in the same way. Each may be columns; k and v have the same stride.
 *
 * @param q [tokens, heads * headDim]
 * @param k [tokens, kvHeads * headDim]
 * @param v the same
 */
public record AttentionInput(Tensor q, Tensor k, Tensor v) {}
