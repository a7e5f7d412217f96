// RMSNorm, a row at a time (Zhang and Sennrich 2019).
#include "core/stride.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

// sum over i of a[i] * b[i]; four partial sums, so that additions do not wait for each other.
static float dot(const float *a, const float *b, int64_t n) {
    Vec sum0 = zero(), sum1 = zero(), sum2 = zero(), sum3 = zero();
    int64_t i = 0;
    for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
        sum0 = fma(load(a + i), load(b + i), sum0);
        sum1 = fma(load(a + i + kWidth), load(b + i + kWidth), sum1);
        sum2 = fma(load(a + i + 2 * kWidth), load(b + i + 2 * kWidth), sum2);
        sum3 = fma(load(a + i + 3 * kWidth), load(b + i + 3 * kWidth), sum3);
    }
    for_each_vector(i, n, [&](int64_t at, int count) {
        sum0 = fma(load_first(a + at, count), load_first(b + at, count), sum0);
    });
    return sum((sum0 + sum1) + (sum2 + sum3));
}

void rmsnorm_rows(const ml_rmsnorm_desc &d, int64_t row0, int64_t row1) {
    const float *x = static_cast<const float *>(d.x);
    float *y = static_cast<float *>(d.y);
    const int64_t group = d.group == 0 ? 1 : d.group;
    for (int64_t row = row0; row < row1; row++) {
        const float *from = x + row_offset(row, group, d.width, stride_of(d.x_stride, group * d.width));
        float *to = y + row_offset(row, group, d.width, stride_of(d.out_stride, group * d.width));
        const float rstd = 1.0f / __builtin_sqrtf(dot(from, from, d.width) / static_cast<float>(d.width) + d.eps);
        if (d.rstd != nullptr) d.rstd[row] = rstd;
        const Vec factor = broadcast(rstd);
        int64_t i = 0;
        for (; i + kWidth <= d.width; i += kWidth) store(to + i, load(from + i) * factor * load(d.weight + i));
        for_each_vector(i, d.width, [&](int64_t at, int n) {
            store_first(to + at, load_first(from + at, n) * factor * load_first(d.weight + at, n), n);
        });
    }
}

ml_status rmsnorm_forward(Context &context, const ml_rmsnorm_desc &d) {
    parallel_ranges(context, d.rows, d.width, [&](int64_t first, int64_t last) { rmsnorm_rows(d, first, last); });
    return ML_OK;
}

// dx = rstd * (dy * weight - x * rstd^2 * mean(dy * weight * x))
ml_status rmsnorm_backward(Context &context, const ml_rmsnorm_desc &d) {
    const float *x = static_cast<const float *>(d.x), *dy = static_cast<const float *>(d.dy);
    float *dx = static_cast<float *>(d.dx);
    const int64_t group = d.group == 0 ? 1 : d.group;
    parallel_ranges(context, d.rows, d.width, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; row++) {
            const float *in = x + row_offset(row, group, d.width, stride_of(d.x_stride, group * d.width));
            const float *grad = dy + row_offset(row, group, d.width, stride_of(d.dy_stride, group * d.width));
            float *to = dx + row_offset(row, group, d.width, stride_of(d.out_stride, group * d.width));
            Vec along0 = zero(), along1 = zero();
            int64_t i = 0;
            for (; i + 2 * kWidth <= d.width; i += 2 * kWidth) {
                along0 = fma(load(grad + i) * load(d.weight + i), load(in + i), along0);
                along1 = fma(load(grad + i + kWidth) * load(d.weight + i + kWidth), load(in + i + kWidth), along1);
            }
            for_each_vector(i, d.width, [&](int64_t at, int n) {
                along0 = fma(load_first(grad + at, n) * load_first(d.weight + at, n), load_first(in + at, n), along0);
            });
            const float rstd = d.rstd[row];
            const Vec factor = broadcast(rstd);
            const Vec back = broadcast(-rstd * rstd * rstd * sum(along0 + along1) / static_cast<float>(d.width));
            for_each_vector(0, d.width, [&](int64_t at, int n) {
                Vec value = fma(load_first(in + at, n), back,
                                load_first(grad + at, n) * load_first(d.weight + at, n) * factor);
                if (d.accumulate != 0) value = value + load_first(to + at, n);
                store_first(to + at, value, n);
            });
        }
    });
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
