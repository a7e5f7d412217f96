// ml_lora_linear_forward and _backward.
#include <string>

#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

static void check_lora_linear(Check &c, const ml_lora_linear_desc &d, bool backward) {
    c.size("tokens", d.tokens).range("rank", d.rank, 0, 65536).weight("w", d.w);
    if (!c.ok()) return;
    const int64_t in = d.w->in_features, out = d.w->out_features;
    c.range("spare", d.spare, 0, kMaxFeatures);
    c.stride("x_stride", d.x_stride, Count(in) + Count(backward ? 0 : d.spare));
    c.stride("y_stride", d.y_stride, Count(out) + Count(backward ? d.spare : 0));
    c.require(d.spare == 0 || (backward ? d.y_stride : d.x_stride) != 0, "spare", "rows without a stride are dense and have none");
    if (!c.ok() || d.rank == 0) return;
    c.range("slots", d.slots, 1, kMaxSlots).range("terms", d.terms, 1, ML_LORA_TERMS).finite("scale", d.scale);
    c.require(d.dropout >= 0 && d.dropout < 1, "dropout", "has to be in [0, 1)");
    if (!c.ok()) return;
    c.offsets("slot_offsets", d.slot_offsets, d.slots, d.tokens);
    for (int64_t i = 0; i < d.terms && c.ok(); i++) {
        const ml_lora_term &t = d.term[i];
        c.range("term.first", t.first, i == 0 ? 0 : d.term[i - 1].first + d.term[i - 1].rows, out).range("term.rows", t.rows, 1, out - t.first);
        if (d.slots > 1) c.range("slot_stride", d.slot_stride, d.rank * (in > t.rows ? in : t.rows), INT64_MAX);
        if (!c.ok()) return;
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
    if (!c.ok()) return;
    c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride, d.spare);
    c.activations("y", d.y, d.tokens, d.w->out_features, d.y_stride);
    if (d.bias != nullptr) c.floats("bias", d.bias, d.w->out_features);
    if (d.residual != nullptr) c.activations("residual", d.residual, d.tokens, d.w->out_features, d.y_stride);
    c.require(d.x != d.y || d.tokens == 0, "y", "may not be x");
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
        if (!c.ok()) return;
        if (d.rank > 0) c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride);
        c.activations("dy", d.dy, d.tokens, d.w->out_features, d.y_stride, d.spare);
        if (d.dx != nullptr) c.activations("dx", d.dx, d.tokens, d.w->in_features, 0);
        c.require(d.dx == nullptr || d.dx != d.dy || d.tokens == 0, "dx", "may not be dy");
        c.require(d.dx == nullptr || d.dx != d.x || d.rank == 0 || d.tokens == 0, "dx", "may not be x");
    }, desc);
}
