// Rotary position embedding in the half-split layout (Su et al. 2021).
#include "core/rope_frequency.h"
#include "core/stride.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

ml_status rope_table(Context &context, const ml_rope_table_desc &d) {
    const int64_t half = d.head_dim / 2;
    auto *frequency = static_cast<double *>(cpu_scratch(context, static_cast<size_t>(half) * sizeof(double)));
    if (frequency == nullptr) return ML_OUT_OF_MEMORY;
    for (int64_t pair = 0; pair < half; pair++) frequency[pair] = rope_inverse_frequency(d, pair);
    parallel_ranges(context, d.positions, half, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; p++) {
            for (int64_t pair = 0; pair < half; pair++) {
                const double angle = static_cast<double>(p) * frequency[pair];
                d.cos[p * half + pair] = static_cast<float>(__builtin_cos(angle));
                d.sin[p * half + pair] = static_cast<float>(__builtin_sin(angle));
            }
        }
    });
    return ML_OK;
}

// Rotates by the angle times `direction`: 1 forward, -1 backward.
static ml_status rotate(Context &context, const ml_rope_desc &d, float direction) {
    float *x = static_cast<float *>(d.x);
    const int64_t half = d.head_dim / 2, stride = stride_of(d.stride, d.heads * d.head_dim);
    parallel_ranges(context, d.tokens, d.heads * d.head_dim, [&](int64_t first, int64_t last) {
        const Vec sign = broadcast(direction);
        for (int64_t t = first; t < last; t++) {
            const float *cos = d.cos + d.position[t] * half, *sin = d.sin + d.position[t] * half;
            for (int64_t h = 0; h < d.heads; h++) {
                float *low = x + t * stride + h * d.head_dim, *high = low + half;
                for_each_vector(0, half, [&](int64_t at, int n) {
                    const Vec c = load_first(cos + at, n), s = load_first(sin + at, n) * sign;
                    const Vec a = load_first(low + at, n), b = load_first(high + at, n);
                    store_first(low + at, a * c - b * s, n);
                    store_first(high + at, fma(b, c, a * s), n);
                });
            }
        }
    });
    return ML_OK;
}

ml_status rope_forward(Context &context, const ml_rope_desc &d) { return rotate(context, d, 1.0f); }

ml_status rope_backward(Context &context, const ml_rope_desc &d) { return rotate(context, d, -1.0f); }

}  // namespace METALORA_ISA
}  // namespace metalora
