// ml_mixture_linear_forward and _backward.
#include <algorithm>

#include "core/api/call.h"
#include "core/api/linear_checks.h"

using namespace metalora;

namespace {

// A gradient of slot 0.
struct Gradient {
    const char *name;
    const float *data;
    int64_t floats;
};

// Whether any slot's vector of one gradient meets any slot's of another: a shift of whole strides makes them overlap.
bool overlap(Gradient a, Gradient b, int64_t slot_stride, int64_t slots) {
    const int64_t stride = slots > 1 ? slot_stride : 1;
    const int64_t bytes = reinterpret_cast<intptr_t>(a.data) - reinterpret_cast<intptr_t>(b.data);
    const int64_t apart = bytes / static_cast<int64_t>(sizeof(float));
    const int64_t above = apart - b.floats;  // b's shift has to be above this, and below apart + a.floats
    const int64_t first = above / stride + (above >= 0 || above % stride == 0 ? 1 : 0), shift = std::max(first, 1 - slots);
    return shift < slots && shift * stride < apart + a.floats;
}

void check_mixture_linear(Check &c, const ml_mixture_linear_desc &d, bool backward) {
    c.range("rank", d.rank, 1, kMaxRank);
    if (c.ok()) c.range("heads", d.heads, 1, kMaxRank / d.rank);
    check_linear_rows(c, d, backward);
    if (!c.ok()) return;
    const int64_t in = d.w->in_features, columns = d.heads * d.rank;
    check_linear_terms(c, d, [&](const ml_mixture_term &t) { return std::max({d.rank * in, d.heads * in, columns * t.rows}); });
    Gradient gradients[3 * ML_LORA_TERMS];
    int64_t count = 0;
    for (int64_t i = 0; i < d.terms && c.ok(); i++) {
        const ml_mixture_term &t = d.term[i];
        const Count a = span(d.slots, d.slot_stride, Count(d.rank) * in);
        const Count b = span(d.slots, d.slot_stride, Count(columns) * t.rows);
        const Count router = span(d.slots, d.slot_stride, Count(d.heads) * in);
        c.floats("a", t.a, a).floats("b", t.b, b).floats("router", t.router, router);
        if (!backward) continue;
        c.require((t.da == nullptr) == (d.term[0].da == nullptr), "da", "is NULL in some terms alone");
        c.require((t.drouter == nullptr) == (d.term[0].drouter == nullptr), "drouter", "is NULL in some terms alone");
        if (t.da != nullptr) {
            c.floats("da", t.da, a);
            gradients[count++] = {"da", t.da, d.rank * in};
        }
        c.floats("db", t.db, b);
        gradients[count++] = {"db", t.db, columns * t.rows};
        if (t.drouter == nullptr) continue;
        c.floats("drouter", t.drouter, router);
        gradients[count++] = {"drouter", t.drouter, d.heads * in};
    }
    for (int64_t i = 0; i < count && c.ok(); i++) {
        for (int64_t j = 0; j < i; j++) {
            const bool apart = !overlap(gradients[i], gradients[j], d.slot_stride, d.slots);
            c.require(apart, gradients[i].name, "overlaps another of the terms' gradients");
        }
    }
    c.floats("h", d.h, Count(d.tokens) * d.terms * d.rank).floats("weights", d.weights, Count(d.tokens) * d.terms * d.heads);
}

}  // namespace

int32_t ml_mixture_linear_forward(ml_context *context, const ml_mixture_linear_desc *desc) {
    auto check = [](Check &c, const ml_mixture_linear_desc &d) {
        check_mixture_linear(c, d, false);
        check_linear_forward(c, d);
    };
    return run_op(context, "ml_mixture_linear_forward", &OpTable::mixture_linear_forward, check, desc);
}

int32_t ml_mixture_linear_backward(ml_context *context, const ml_mixture_linear_desc *desc) {
    auto check = [](Check &c, const ml_mixture_linear_desc &d) {
        check_mixture_linear(c, d, true);
        check_linear_backward(c, d);
    };
    return run_op(context, "ml_mixture_linear_backward", &OpTable::mixture_linear_backward, check, desc);
}
