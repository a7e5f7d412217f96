// The inverse frequencies of the rotary embedding, the same on every backend.
#pragma once

#include <math.h>

#include "core/host_device.h"
#include "metalora.h"

namespace metalora {

ML_HOST_DEVICE static inline double rope_inverse_frequency(const ml_rope_table_desc &d, int64_t pair) {
    const double plain = pow(d.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(d.head_dim));
    if (d.scaling == ML_ROPE_PLAIN) return plain;
    if (d.scaling == ML_ROPE_LINEAR) return plain / d.factor;
    // Llama 3.1: `turns` is how often the pair rotates within the original context. Fast pairs stay, slow ones are
    // slowed down by the factor, those between are a mix.
    const double turns = d.original_max_positions * plain / (2 * 3.14159265358979323846);
    if (turns > d.high_freq_factor) return plain;
    if (turns < d.low_freq_factor) return plain / d.factor;
    const double keep = (turns - d.low_freq_factor) / (d.high_freq_factor - d.low_freq_factor);
    return (1 - keep) * plain / d.factor + keep * plain;
}

}  // namespace metalora
