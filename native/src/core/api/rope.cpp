// ml_rope_table, ml_rope_forward and _backward.
#include "core/api/call.h"

using namespace metalora;

int32_t ml_rope_table(ml_context *context, const ml_rope_table_desc *desc) {
    return run_op(context, "ml_rope_table", &OpTable::rope_table, [](Check &c, const ml_rope_table_desc &d) {
        c.size("positions", d.positions).positive("head_dim", d.head_dim);
        c.require(d.head_dim % 2 == 0, "head_dim", "is odd");
        c.finite("theta", d.theta).require(d.theta > 0, "theta", "has to be above 0");
        c.range("scaling", d.scaling, ML_ROPE_PLAIN, ML_ROPE_LLAMA3);
        if (d.scaling != ML_ROPE_PLAIN) c.finite("factor", d.factor).require(d.factor > 0, "factor", "has to be above 0");
        if (d.scaling == ML_ROPE_LLAMA3) {
            c.finite("low_freq_factor", d.low_freq_factor).finite("high_freq_factor", d.high_freq_factor);
            c.require(d.low_freq_factor > 0, "low_freq_factor", "has to be above 0");
            c.require(d.high_freq_factor > d.low_freq_factor, "high_freq_factor", "has to be above low_freq_factor");
            c.finite("original_max_positions", d.original_max_positions);
            c.require(d.original_max_positions > 0, "original_max_positions", "has to be above 0");
        }
        if (!c.ok()) return;
        const Count n = Count(d.positions) * (d.head_dim / 2);
        c.floats("cos", d.cos, n).floats("sin", d.sin, n);
    }, desc);
}

static void check_rope(Check &c, const ml_rope_desc &d) {
    c.size("tokens", d.tokens).size("positions", d.positions).positive("heads", d.heads).positive("head_dim", d.head_dim);
    c.require(d.head_dim % 2 == 0, "head_dim", "is odd");
    if (!c.ok()) return;
    c.stride("stride", d.stride, Count(d.heads) * d.head_dim).activations("x", d.x, d.tokens, Count(d.heads) * d.head_dim, d.stride);
    const Count n = Count(d.positions) * (d.head_dim / 2);
    c.floats("cos", d.cos, n).floats("sin", d.sin, n).each_below("position", d.position, d.tokens, d.positions);
}

int32_t ml_rope_forward(ml_context *context, const ml_rope_desc *desc) {
    return run_op(context, "ml_rope_forward", &OpTable::rope_forward, check_rope, desc);
}

int32_t ml_rope_backward(ml_context *context, const ml_rope_desc *desc) {
    return run_op(context, "ml_rope_backward", &OpTable::rope_backward, check_rope, desc);
}
