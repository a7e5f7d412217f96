// ml_adamw_step.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_adamw_step(ml_context *context, const ml_adamw_desc *desc) {
    return run_op(context, "ml_adamw_step", &OpTable::adamw_step, [](Check &c, const ml_adamw_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        const Count n = span(d.slots, d.stride, d.count);
        c.floats("parameter", d.parameter, n).floats("grad", d.grad, n).floats("m", d.m, n).floats("v", d.v, n);
        if (d.norm != nullptr) c.floats("norm", d.norm, d.slots);
        c.range("step", d.step, 1, INT64_MAX).finite("lr", d.lr).finite("weight_decay", d.weight_decay);
        c.require(d.beta1 >= 0 && d.beta1 < 1, "beta1", "has to be in [0, 1)");
        c.require(d.beta2 >= 0 && d.beta2 < 1, "beta2", "has to be in [0, 1)");
        c.finite("eps", d.eps).require(d.eps >= 0, "eps", "is negative");
    }, desc);
}
