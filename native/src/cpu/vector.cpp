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

namespace {

// What a step makes of the n elements from `at` on.
struct AdamWStep {
    const ml_adamw_desc &d;
    Vec beta1, beta2, eps, rest1, rest2, unbias, down, keep;

    AdamWStep(const ml_adamw_desc &desc, const AdamWFactors &f)
        : d(desc), beta1(broadcast(desc.beta1)), beta2(broadcast(desc.beta2)), eps(broadcast(desc.eps)), rest1(broadcast(f.rest1)),
          rest2(broadcast(f.rest2)), unbias(broadcast(f.unbias)), down(broadcast(-f.step)), keep(broadcast(f.keep)) {}

    inline __attribute__((always_inline)) void take(int64_t at, int n, Vec &parameter, Vec &m, Vec &v) const {
        const Vec g = load_first(d.grad + at, n);
        m = fma(beta1, load_first(d.m + at, n), rest1 * g);
        v = fma(beta2, load_first(d.v + at, n), rest2 * (g * g));
        const Vec denominator = fma(sqrt(v), unbias, eps);
        parameter = fma(down, m / denominator, load_first(d.parameter + at, n) * keep);
    }
};

// Whether the step of the slot that begins at `begin` gives finite numbers alone.
bool stays_finite(Context &context, const AdamWStep &step, int64_t begin) {
    bool finite = true;
    parallel_ranges(context, step.d.count, 4, [&](int64_t first, int64_t last) {
        Vec none = zero();  // x - x is 0, or NaN where x is not finite
        for_each_vector(begin + first, begin + last, [&](int64_t at, int n) {
            Vec parameter, m, v;
            step.take(at, n, parameter, m, v);
            const Vec differences = (parameter - parameter) + (m - m) + (v - v);
            float own[kWidth] = {};  // what lies behind the last element is of no account
            store_first(own, differences, n);
            none = none + load(own);
        });
        if (!(sum(none) == 0)) __atomic_store_n(&finite, false, __ATOMIC_RELAXED);
    }, kWidth);
    return finite;
}

}  // namespace

ml_status adamw_step(Context &context, const ml_adamw_desc &d) {
    const AdamWStep step(d, adamw_factors(d));
    for (int64_t slot = 0; slot < d.slots; slot++) {
        const int64_t begin = slot * d.stride;
        if (d.norm != nullptr) {
            if (!__builtin_isfinite(d.norm[slot])) continue;
            if (!stays_finite(context, step, begin)) {
                d.norm[slot] = __builtin_nanf("");
                continue;
            }
        }
        parallel_ranges(context, d.count, 4, [&](int64_t first, int64_t last) {
            for_each_vector(begin + first, begin + last, [&](int64_t at, int n) {
                Vec parameter, m, v;
                step.take(at, n, parameter, m, v);
                store_first(d.m + at, m, n);
                store_first(d.v + at, v, n);
                store_first(d.parameter + at, parameter, n);
            });
        }, kWidth);
    }
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
