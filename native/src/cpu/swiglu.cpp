// SwiGLU (Shazeer 2020): y = silu(gate) * up.
#include "core/stride.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

static inline Vec sigmoid(Vec z) {
    const Vec one = broadcast(1.0f);
    return one / (one + exp(zero() - z));
}

// Calls body(element of gate, element of a row of `other_stride`, count) for vectors of some rows' elements.
template <class Body>
static void for_rows(const ml_swiglu_desc &d, int64_t other_stride, int64_t row0, int64_t row1, const Body &body) {
    const int64_t gate_stride = stride_of(d.gate_stride, d.width), other = stride_of(other_stride, d.width);
    for (int64_t row = row0; row < row1; row++) {
        for_each_vector(0, d.width, [&](int64_t at, int n) { body(row * gate_stride + at, row * other + at, n); });
    }
}

// The same for all rows. Dense ones are one long row.
template <class Body>
static void for_all_rows(Context &context, const ml_swiglu_desc &d, int64_t other_stride, const Body &body) {
    if (stride_of(d.gate_stride, d.width) == d.width && stride_of(other_stride, d.width) == d.width) {
        parallel_ranges(context, d.rows * d.width, 1, [&](int64_t first, int64_t last) {
            for_each_vector(first, last, [&](int64_t at, int n) { body(at, at, n); });
        }, kWidth);
        return;
    }
    parallel_ranges(context, d.rows, d.width, [&](int64_t first, int64_t last) { for_rows(d, other_stride, first, last, body); });
}

struct Gated {
    const float *gate, *up;
    float *y;
    explicit Gated(const ml_swiglu_desc &d) : gate(static_cast<const float *>(d.gate)), up(static_cast<const float *>(d.up)), y(static_cast<float *>(d.y)) {}
    inline __attribute__((always_inline)) void operator()(int64_t at, int64_t out, int n) const {
        const Vec g = load_first(gate + at, n);
        store_first(y + out, g * sigmoid(g) * load_first(up + at, n), n);
    }
};

void swiglu_rows(const ml_swiglu_desc &d, int64_t row0, int64_t row1) { for_rows(d, d.y_stride, row0, row1, Gated(d)); }

ml_status swiglu_forward(Context &context, const ml_swiglu_desc &d) {
    for_all_rows(context, d, d.y_stride, Gated(d));
    return ML_OK;
}

// d silu(g) / dg = s + g s (1 - s) with s = sigmoid(g)
ml_status swiglu_backward(Context &context, const ml_swiglu_desc &d) {
    const float *gate = static_cast<const float *>(d.gate), *up = static_cast<const float *>(d.up);
    const float *dy = static_cast<const float *>(d.dy);
    float *dgate = static_cast<float *>(d.dgate), *dup = static_cast<float *>(d.dup);
    for_all_rows(context, d, 0, [&](int64_t at, int64_t in, int n) {
        const Vec g = load_first(gate + at, n), u = load_first(up + at, n), grad = load_first(dy + in, n);
        const Vec s = sigmoid(g);
        const Vec slope = fma(g * s, broadcast(1.0f) - s, s);
        store_first(dgate + at, grad * u * slope, n);
        store_first(dup + at, grad * g * s, n);
    });
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
