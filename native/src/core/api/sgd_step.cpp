// ml_sgd_step.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_sgd_step(ml_context *context, const ml_sgd_desc *desc) {
    return run_op(context, "ml_sgd_step", &OpTable::sgd_step, [](Check &c, const ml_sgd_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        const Count n = span(d.slots, d.stride, d.count);
        c.floats("parameter", d.parameter, n).floats("grad", d.grad, n).finite("lr", d.lr).finite("weight_decay", d.weight_decay);
    }, desc);
}
