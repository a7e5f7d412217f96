// ml_broadcast.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

int32_t ml_broadcast(ml_context *context, float *to, const float *from, int64_t count, int64_t stride, int64_t slots) {
    return recordable(context, "ml_broadcast", [&](Context &c) -> ml_status {
        Check check(c, "ml_broadcast");
        if (check_slots(check, count, stride, slots)) {
            check.floats("to", to, span(slots, stride, count)).floats("from", from, slots == 0 ? 0 : count);
        }
        return check.ok() ? c.backend.ops->broadcast(c, to, from, count, stride, slots) : check.status();
    });
}
