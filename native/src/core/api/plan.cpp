// ml_plan_begin and ml_plan_end.
#include "core/api/call.h"

using namespace metalora;

int32_t ml_plan_begin(ml_context *context) {
    return unrecordable(context, "ml_plan_begin", [&](Context &c) -> ml_status {
        if (c.backend.graphs == nullptr) {
            return fail(ML_UNSUPPORTED, "ml_plan_begin: plan: ops of the CPU backend take host memory as they run");
        }
        c.recording.start(true);
        c.scratch.begin_plan();
        return ML_OK;
    });
}

int32_t ml_plan_end(ml_context *context, int64_t *scratch_bytes) {
    const char *op = "ml_plan_end";
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (scratch_bytes != nullptr) *scratch_bytes = 0;
        if (!c.recording.active || !c.recording.plan) {
            return fail(ML_INVALID_ARGUMENT, "%s: nothing is being planned; call ml_plan_begin first", op);
        }
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        c.recording.active = false;
        const size_t bytes = c.scratch.end_plan();
        if (c.recording.status != ML_OK) return fail(c.recording.status, "%s: an op of the plan failed: %s", op, c.recording.text.c_str());
        if (!c.scratch.hold(bytes)) {
            return fail(ML_OUT_OF_MEMORY, "%s: no device memory for %zu bytes of scratch space, which %s takes: this context holds "
                        "%lld, the device has %lld of %lld left", op, bytes, c.recording.largest.c_str(), static_cast<long long>(c.in_use()),
                        static_cast<long long>(c.backend.memory_free(c)), static_cast<long long>(c.memory_total));
        }
        c.note_peak();
        if (scratch_bytes != nullptr) *scratch_bytes = static_cast<int64_t>(bytes);
        return ML_OK;
    });
}
