// ml_rmsnorm_linear_forward.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_rmsnorm_linear_forward(ml_context *context, const ml_rmsnorm_desc *norm, const ml_lora_linear_desc *linear) {
    return run_op(context, "ml_rmsnorm_linear_forward", &OpTable::rmsnorm_linear_forward, [](Check &c, const ml_rmsnorm_desc &n, const ml_lora_linear_desc &l) {
        c.of("norm"), check_rmsnorm_forward(c, n);
        c.require(n.group <= 1, "group", "is above 1, but the linear reads whole rows");
        c.of("linear"), check_lora_linear_forward(c, l);
        check_reads(c, l, "norm.y", n.y, n.rows, n.width, n.out_stride);
    }, norm, linear);
}
