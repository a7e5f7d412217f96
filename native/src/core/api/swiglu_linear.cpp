// ml_swiglu_linear_forward.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_swiglu_linear_forward(ml_context *context, const ml_swiglu_desc *swiglu, const ml_lora_linear_desc *linear) {
    return run_op(context, "ml_swiglu_linear_forward", &OpTable::swiglu_linear_forward, [](Check &c, const ml_swiglu_desc &g, const ml_lora_linear_desc &l) {
        c.of("swiglu"), check_swiglu_forward(c, g);
        c.of("linear"), check_lora_linear_forward(c, l);
        check_reads(c, l, "swiglu.y", g.y, g.rows, g.width, g.y_stride);
    }, swiglu, linear);
}
