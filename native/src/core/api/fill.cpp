// ml_fill.
#include "core/api/call.h"

using namespace metalora;

int32_t ml_fill(ml_context *context, float *values, int64_t count, float value) {
    return recordable(context, "ml_fill", [&](Context &c) -> ml_status {
        Check check(c, "ml_fill");
        check.range("count", count, 0, INT64_MAX).floats("values", values, count);
        return check.ok() ? c.backend.ops->fill(c, values, count, value) : check.status();
    });
}
