// ml_task_reduce.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_task_reduce(ml_context *context, const ml_task_reduce_desc *desc) {
    return run_op(context, "ml_task_reduce", &OpTable::task_reduce, [](Check &c, const ml_task_reduce_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        c.range("slots", d.slots, 0, 4096).floats("grad", d.grad, span(d.slots, d.stride, d.count));
        c.require(d.out != nullptr || d.gram != nullptr, "out", "and gram are both NULL: nothing to compute");
        if (d.out != nullptr) c.floats("weight", d.weight, d.slots).floats("out", d.out, d.count);
        if (d.gram != nullptr) c.doubles("gram", d.gram, Count(d.slots) * d.slots);
    }, desc);
}
