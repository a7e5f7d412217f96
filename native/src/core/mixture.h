// Both linears with adapters in one form: a LoRA linear is a mixture without a router, whose B has a column a rank.
#pragma once

#include "core/host_device.h"
#include "metalora.h"

namespace metalora {

// heads = 0: no router, no weights. (static: each instruction set of the CPU has its own.)
static inline ml_mixture_linear_desc without_router(const ml_lora_linear_desc &d) {
    ml_mixture_linear_desc m{};
    m.x = d.x, m.w = d.w, m.bias = d.bias, m.residual = d.residual, m.y = d.y, m.h = d.h, m.dy = d.dy, m.dx = d.dx;
    m.slot_offsets = d.slot_offsets, m.tokens = d.tokens, m.slots = d.slots, m.slot_stride = d.slot_stride;
    m.rank = d.rank, m.terms = d.terms, m.scale = d.scale, m.dropout = d.dropout, m.seed = d.seed, m.accumulate = d.accumulate;
    m.x_stride = d.x_stride, m.y_stride = d.y_stride, m.spare = d.spare;
    for (int64_t i = 0; i < ML_LORA_TERMS; i++) {
        const ml_lora_term &t = d.term[i];
        m.term[i] = {t.a, t.b, nullptr, t.da, t.db, nullptr, t.first, t.rows, t.stream};
    }
    return m;
}

// Columns of a term's B, and rows of its A with the router's below them.
ML_HOST_DEVICE static inline int64_t b_columns(const ml_mixture_linear_desc &d) {
    return d.heads == 0 ? d.rank : d.heads * d.rank;
}
ML_HOST_DEVICE static inline int64_t a_rows(const ml_mixture_linear_desc &d) { return d.rank + d.heads; }

}  // namespace metalora
