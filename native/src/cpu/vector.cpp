// Vectors of adapter parameters and gradients: fill, broadcast, clipping, optimizer steps. All bound by memory
// bandwidth, so each is a single pass.
#include <string.h>

#include "core/adamw_factors.h"
#include "cpu/double_vec.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

ml_status fill(Context &context, float *values, int64_t count, float value) {
    parallel_ranges(context, count, 1, [&](int64_t first, int64_t last) {
        const Vec v = broadcast(value);
        for_each_vector(first, last, [&](int64_t at, int n) { store_first(values + at, v, n); });
    }, kWidth);
    return ML_OK;
}

ml_status broadcast(Context &context, float *to, const float *from, int64_t count, int64_t stride, int64_t slots) {
    parallel_ranges(context, count, slots, [&](int64_t first, int64_t last) {
        for (int64_t slot = 0; slot < slots; slot++) {
            memmove(to + slot * stride + first, from + first, static_cast<size_t>(last - first) * sizeof(float));
        }
    }, kWidth);
    return ML_OK;
}

ml_status clip_global_norm(Context &context, const ml_clip_desc &d) {
    // Blocks of a fixed size, added up in order: the same sum for every thread count.
    constexpr int64_t kBlock = 16384;
    const int64_t blocks = (d.count + kBlock - 1) / kBlock;
    auto *partial = static_cast<double *>(cpu_scratch(context, static_cast<size_t>(blocks * d.slots) * sizeof(double)));
    if (partial == nullptr) return ML_OUT_OF_MEMORY;
    parallel_ranges(context, blocks * d.slots, kBlock, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; i++) {
            const int64_t begin = i % blocks * kBlock, end = begin + kBlock < d.count ? begin + kBlock : d.count;
            const float *grad = d.grad + i / blocks * d.stride + begin;
            partial[i] = dot_double(grad, grad, end - begin);
        }
    });
    for (int64_t slot = 0; slot < d.slots; slot++) {
        double squares = 0;
        for (int64_t block = 0; block < blocks; block++) squares += partial[slot * blocks + block];
        const double norm = __builtin_sqrt(squares);
        d.norm[slot] = static_cast<float>(norm);
        if (!(d.max_norm > 0)) continue;
        const double factor = d.max_norm / (norm + 1e-6);
        if (!(factor < 1)) continue;
        float *grad = d.grad + slot * d.stride;
        parallel_ranges(context, d.count, 1, [&](int64_t first, int64_t last) {
            const Vec scale = broadcast(static_cast<float>(factor));
            for_each_vector(first, last, [&](int64_t at, int n) {
                store_first(grad + at, load_first(grad + at, n) * scale, n);
            });
        }, kWidth);
    }
    return ML_OK;
}

ml_status sgd_step(Context &context, const ml_sgd_desc &d) {
    for (int64_t slot = 0; slot < d.slots; slot++) {
        float *parameter = d.parameter + slot * d.stride;
        const float *grad = d.grad + slot * d.stride;
        parallel_ranges(context, d.count, 2, [&](int64_t first, int64_t last) {
            const Vec down = broadcast(-d.lr), decay = broadcast(d.weight_decay);
            for_each_vector(first, last, [&](int64_t at, int n) {
                const Vec p = load_first(parameter + at, n);
                store_first(parameter + at, fma(down, fma(decay, p, load_first(grad + at, n)), p), n);
            });
        }, kWidth);
    }
    return ML_OK;
}

ml_status adamw_step(Context &context, const ml_adamw_desc &d) {
    const AdamWFactors f = adamw_factors(d);
    for (int64_t slot = 0; slot < d.slots; slot++) {
        if (d.norm != nullptr && !__builtin_isfinite(d.norm[slot])) continue;
        const int64_t at_slot = slot * d.stride;
        parallel_ranges(context, d.count, 4, [&](int64_t first, int64_t last) {
            const Vec beta1 = broadcast(d.beta1), beta2 = broadcast(d.beta2), eps = broadcast(d.eps);
            const Vec rest1 = broadcast(f.rest1), rest2 = broadcast(f.rest2);
            for_each_vector(at_slot + first, at_slot + last, [&](int64_t at, int n) {
                const Vec g = load_first(d.grad + at, n);
                const Vec m = fma(beta1, load_first(d.m + at, n), rest1 * g);
                const Vec v = fma(beta2, load_first(d.v + at, n), rest2 * (g * g));
                const Vec denominator = fma(sqrt(v), broadcast(f.unbias), eps);
                store_first(d.m + at, m, n);
                store_first(d.v + at, v, n);
                store_first(d.parameter + at,
                            fma(broadcast(-f.step), m / denominator, load_first(d.parameter + at, n) * broadcast(f.keep)), n);
            });
        }, kWidth);
    }
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
