package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * What attention writes, and its backward reads.
 *
 * @param o   [tokens, heads * headDim]; may be columns
 * @param lse F32 [tokens, heads], the log-sum-exp of the scaled scores; nullable without a backward
 */
public record AttentionOutput(Tensor o, Tensor lse) {}
