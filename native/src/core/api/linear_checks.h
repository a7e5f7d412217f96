// What ml_lora_linear_* and ml_mixture_linear_* check alike: their descriptors have these fields in common.
#pragma once

#include "core/api/checks.h"

namespace metalora {

constexpr int64_t kMaxRank = 65536;

// The rows of x and y.
template <class Desc> void check_linear_rows(Check &c, const Desc &d, bool backward) {
    c.size("tokens", d.tokens).weight("w", d.w);
    if (!c.ok()) return;
    c.range("spare", d.spare, 0, kMaxFeatures);
    c.stride("x_stride", d.x_stride, Count(d.w->in_features) + Count(backward ? 0 : d.spare));
    c.stride("y_stride", d.y_stride, Count(d.w->out_features) + Count(backward ? d.spare : 0));
    const bool dense = (backward ? d.y_stride : d.x_stride) == 0;
    c.require(d.spare == 0 || !dense, "spare", "rows without a stride are dense and have none");
}

// The slots, and which rows each term adapts. of_slot(term): floats of the largest of its matrices.
template <class Desc, class OfSlot> void check_linear_terms(Check &c, const Desc &d, const OfSlot &of_slot) {
    if (!c.ok()) return;
    c.range("slots", d.slots, 1, kMaxSlots).range("terms", d.terms, 1, ML_LORA_TERMS).finite("scale", d.scale);
    c.require(d.dropout >= 0 && d.dropout < 1, "dropout", "has to be in [0, 1)");
    if (!c.ok()) return;
    c.offsets("slot_offsets", d.slot_offsets, d.slots, d.tokens);
    for (int64_t i = 0; i < d.terms && c.ok(); i++) {
        const auto &t = d.term[i];
        c.range("term.first", t.first, i == 0 ? 0 : d.term[i - 1].first + d.term[i - 1].rows, d.w->out_features);
        c.range("term.rows", t.rows, 1, d.w->out_features - t.first);
        if (c.ok() && d.slots > 1) c.range("slot_stride", d.slot_stride, of_slot(t), INT64_MAX);
    }
}

template <class Desc> void check_linear_forward(Check &c, const Desc &d) {
    if (!c.ok()) return;
    c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride, d.spare);
    c.activations("y", d.y, d.tokens, d.w->out_features, d.y_stride);
    if (d.bias != nullptr) c.floats("bias", d.bias, d.w->out_features);
    if (d.residual != nullptr) c.activations("residual", d.residual, d.tokens, d.w->out_features, d.y_stride);
    c.require(d.x != d.y || d.tokens == 0, "y", "may not be x");
}

template <class Desc> void check_linear_backward(Check &c, const Desc &d) {
    if (!c.ok()) return;
    if (d.rank > 0) c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride);
    c.activations("dy", d.dy, d.tokens, d.w->out_features, d.y_stride, d.spare);
    if (d.dx != nullptr) c.activations("dx", d.dx, d.tokens, d.w->in_features, 0);
    c.require(d.dx == nullptr || d.dx != d.dy || d.tokens == 0, "dx", "may not be dy");
    c.require(d.dx == nullptr || d.dx != d.x || d.rank == 0 || d.tokens == 0, "dx", "may not be x");
}

}  // namespace metalora
