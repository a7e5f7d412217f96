// SwiGLU (Shazeer 2020): y = silu(gate) * up.
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

static inline Vec sigmoid(Vec z) {
    const Vec one = broadcast(1.0f);
    return one / (one + exp(zero() - z));
}

ml_status swiglu_forward(Context &context, const ml_swiglu_desc &d) {
    const float *gate = static_cast<const float *>(d.gate), *up = static_cast<const float *>(d.up);
    float *y = static_cast<float *>(d.y);
    parallel_ranges(context, d.count, 1, [&](int64_t first, int64_t last) {
        for_each_vector(first, last, [&](int64_t at, int n) {
            const Vec g = load_first(gate + at, n);
            store_first(y + at, g * sigmoid(g) * load_first(up + at, n), n);
        });
    }, kWidth);
    return ML_OK;
}

// d silu(g) / dg = s + g s (1 - s) with s = sigmoid(g)
ml_status swiglu_backward(Context &context, const ml_swiglu_desc &d) {
    const float *gate = static_cast<const float *>(d.gate), *up = static_cast<const float *>(d.up);
    const float *dy = static_cast<const float *>(d.dy);
    float *dgate = static_cast<float *>(d.dgate), *dup = static_cast<float *>(d.dup);
    parallel_ranges(context, d.count, 1, [&](int64_t first, int64_t last) {
        for_each_vector(first, last, [&](int64_t at, int n) {
            const Vec g = load_first(gate + at, n), u = load_first(up + at, n), grad = load_first(dy + at, n);
            const Vec s = sigmoid(g);
            const Vec slope = fma(g * s, broadcast(1.0f) - s, s);
            store_first(dgate + at, grad * u * slope, n);
            store_first(dup + at, grad * g * s, n);
        });
    }, kWidth);
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
