package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * The rows of a pack that carry loss.
 *
 * @param rows    I32 [count], of the pack's tokens; with a gradient strictly ascending
 * @param targets I32 [count], a token id each
 * @param scale   F32 [count], d loss / d (-logprob); needed with a gradient, else nullable
 */
public record LossRows(Tensor rows, Tensor targets, Tensor scale, long count) {}
