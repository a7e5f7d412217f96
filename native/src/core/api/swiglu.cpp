// ml_swiglu_forward and _backward.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

static void check_swiglu(Check &c, const ml_swiglu_desc &d) {
    c.range("rows", d.rows, 0, INT64_MAX).range("width", d.width, 0, INT64_MAX);
    c.stride("gate_stride", d.gate_stride, d.width).stride("y_stride", d.y_stride, d.width);
    if (!c.ok()) return;
    c.activations("gate", d.gate, d.rows, d.width, d.gate_stride).activations("up", d.up, d.rows, d.width, d.gate_stride);
}

void metalora::check_swiglu_forward(Check &c, const ml_swiglu_desc &d) {
    check_swiglu(c, d);
    c.activations("y", d.y, d.rows, d.width, d.y_stride);
    c.require((d.y != d.gate && d.y != d.up) || stride_of(d.y_stride, d.width) == stride_of(d.gate_stride, d.width) || d.rows == 0, "y",
              "may be gate or up only where both have the same stride");
}

int32_t ml_swiglu_forward(ml_context *context, const ml_swiglu_desc *desc) {
    return run_op(context, "ml_swiglu_forward", &OpTable::swiglu_forward, check_swiglu_forward, desc);
}

int32_t ml_swiglu_backward(ml_context *context, const ml_swiglu_desc *desc) {
    return run_op(context, "ml_swiglu_backward", &OpTable::swiglu_backward, [](Check &c, const ml_swiglu_desc &d) {
        check_swiglu(c, d);
        c.activations("dy", d.dy, d.rows, d.width, 0);
        c.activations("dgate", d.dgate, d.rows, d.width, d.gate_stride).activations("dup", d.dup, d.rows, d.width, d.gate_stride);
        c.require(d.dgate != d.dup || d.rows == 0 || d.width == 0, "dup", "may not be dgate");
        c.require((d.dgate != d.dy && d.dup != d.dy) || stride_of(d.gate_stride, d.width) == d.width || d.rows == 0, "dgate, dup",
                  "may be dy only where gate_stride is dense");
    }, desc);
}
