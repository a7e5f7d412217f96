package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * The two halves that SwiGLU multiplies, or their gradients. Both may be columns, with the same stride.
 *
 * @param gate [rows, width]
 * @param up   the same
 */
public record GateUp(Tensor gate, Tensor up, long width) {}
