// ml_cross_entropy.
#include "core/api/call.h"

using namespace metalora;

int32_t ml_cross_entropy(ml_context *context, const ml_cross_entropy_desc *desc) {
    return run_op(context, "ml_cross_entropy", &OpTable::cross_entropy, [](Check &c, const ml_cross_entropy_desc &d) {
        // Without dx a row may be asked about several targets.
        c.size("tokens", d.tokens).range("count", d.count, 0, d.dx != nullptr ? d.tokens : INT64_MAX).weight("w", d.w);
        if (!c.ok()) return;
        const Count n = Count(d.tokens) * d.w->in_features;
        c.activations("x", d.x, n);
        if (d.dx != nullptr) c.ascending("rows", d.rows, d.count, d.tokens);
        else c.each_below("rows", d.rows, d.count, d.tokens);
        c.each_below("target", d.target, d.count, d.w->out_features).floats("logprob", d.logprob, d.count);
        if (d.argmax != nullptr) c.ints("argmax", d.argmax, d.count);
        if (d.dx != nullptr) c.floats("row_scale", d.row_scale, d.count).activations("dx", d.dx, n);
        c.require(d.dx == nullptr || d.dx != d.x || d.tokens == 0, "dx", "may not be x");
    }, desc);
}
