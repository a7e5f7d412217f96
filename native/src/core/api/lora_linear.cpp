// ml_lora_linear_forward and _backward.
#include <string>

#include "core/api/call.h"
#include "core/api/linear_checks.h"

using namespace metalora;

static void check_lora_linear(Check &c, const ml_lora_linear_desc &d, bool backward) {
    c.range("rank", d.rank, 0, kMaxRank);
    check_linear_rows(c, d, backward);
    if (!c.ok() || d.rank == 0) return;
    const int64_t in = d.w->in_features;
    check_linear_terms(c, d, [&](const ml_lora_term &t) { return d.rank * (in > t.rows ? in : t.rows); });
    for (int64_t i = 0; i < d.terms && c.ok(); i++) {
        const ml_lora_term &t = d.term[i];
        const Count a = span(d.slots, d.slot_stride, Count(d.rank) * in), b = span(d.slots, d.slot_stride, Count(d.rank) * t.rows);
        c.floats("a", t.a, a).floats("b", t.b, b);
        if (!backward) continue;
        c.require((t.da == nullptr) == (d.term[0].da == nullptr), "da", "is NULL in some terms alone");
        if (t.da != nullptr) c.floats("da", t.da, a);
        c.floats("db", t.db, b);
    }
    c.floats("h", d.h, Count(d.tokens) * d.terms * d.rank);
}

void metalora::check_lora_linear_forward(Check &c, const ml_lora_linear_desc &d) {
    check_lora_linear(c, d, false);
    check_linear_forward(c, d);
}

void metalora::check_reads(Check &c, const ml_lora_linear_desc &d, const char *y_field, const void *y, int64_t rows, int64_t width, int64_t stride) {
    if (!c.ok()) return;
    const std::string is_not = "is not ";
    c.require(d.x == y, "x", (is_not + y_field).c_str());
    c.range("tokens", d.tokens, rows, rows);
    c.require(d.w->in_features == width, "w", "its in features are not the width of the rows before it");
    c.require(stride_of(d.x_stride, width) == stride_of(stride, width), "x_stride", (is_not + "the stride of " + y_field).c_str());
}

int32_t ml_lora_linear_forward(ml_context *context, const ml_lora_linear_desc *desc) {
    return run_op(context, "ml_lora_linear_forward", &OpTable::lora_linear_forward, check_lora_linear_forward, desc);
}

int32_t ml_lora_linear_backward(ml_context *context, const ml_lora_linear_desc *desc) {
    return run_op(context, "ml_lora_linear_backward", &OpTable::lora_linear_backward, [](Check &c, const ml_lora_linear_desc &d) {
        check_lora_linear(c, d, true);
        check_linear_backward(c, d);
    }, desc);
}
