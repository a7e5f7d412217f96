package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * The angles of the rotary embedding (Su et al. 2021), filled by {@link Ops#ropeTable}.
 *
 * @param cos       F32 [positions, headDim / 2]
 * @param sin       the same
 * @param positions that a token may have: 0 to positions - 1
 */
public record RopeTable(Tensor cos, Tensor sin, long positions, long headDim) {}
