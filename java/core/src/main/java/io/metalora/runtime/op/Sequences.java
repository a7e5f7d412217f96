package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * Sequences of a pack, one after the other without padding.
 *
 * @param offsets I32 [count + 1]: the first token of each, and where the last one ends
 * @param count   how many sequences
 * @param tokens  of all of them
 * @param longest tokens of the longest
 */
public record Sequences(Tensor offsets, long count, long tokens, long longest) {}
