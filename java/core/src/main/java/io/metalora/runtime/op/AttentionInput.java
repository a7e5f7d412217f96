package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * What attention reads, or the gradients of that, which lie as it does. Each may be columns; k and v lie alike.
 *
 * @param q [tokens, heads * headDim]
 * @param k [tokens, kvHeads * headDim]
 * @param v the same
 */
public record AttentionInput(Tensor q, Tensor k, Tensor v) {}
