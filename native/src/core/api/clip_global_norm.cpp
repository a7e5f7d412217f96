// ml_clip_global_norm.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_clip_global_norm(ml_context *context, const ml_clip_desc *desc) {
    return run_op(context, "ml_clip_global_norm", &OpTable::clip_global_norm, [](Check &c, const ml_clip_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        c.floats("grad", d.grad, span(d.slots, d.stride, d.count)).floats("norm", d.norm, d.slots);
        c.finite("max_norm", d.max_norm).require(d.max_norm >= 0, "max_norm", "is negative");
    }, desc);
}
