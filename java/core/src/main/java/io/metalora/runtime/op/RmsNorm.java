package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;

/**
 * y = x * rstd * weight by rows, with rstd = 1 / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019).
 *
 * @param weight F32 [width]
 * @param width  elements of a row; of a head, where each head has a norm of its own
 */
public record RmsNorm(Tensor weight, long width, float eps) {}
