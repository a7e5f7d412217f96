// ml_embedding_forward.
#include "core/api/call.h"

using namespace metalora;

int32_t ml_embedding_forward(ml_context *context, const ml_embedding_desc *desc) {
    return run_op(context, "ml_embedding_forward", &OpTable::embedding_forward, [](Check &c, const ml_embedding_desc &d) {
        if (!c.size("tokens", d.tokens).weight("table", d.table).ok()) return;
        c.each_below("ids", d.ids, d.tokens, d.table->out_features);
        c.activations("y", d.y, Count(d.tokens) * d.table->in_features);
    }, desc);
}
