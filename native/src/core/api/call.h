// How an entry point of metalora.h runs: alone on its context, its scratch memory given back at the end, what it throws made a
// status; an op with its descriptor copied and checked.
#pragma once

#include <atomic>
#include <thread>

#include "core/check.h"
#include "core/contained.h"
#include "core/context.h"
#include "core/error.h"

namespace metalora {

// Marks the context as in use for the length of a call and gives its scratch memory back at the end.
class Guard {
public:
    Guard(ml_context *context, const char *op) {
        if (context == nullptr) {
            status_ = fail(ML_INVALID_ARGUMENT, "%s: context is NULL", op);
        } else if (context->busy.exchange(true, std::memory_order_acquire)) {
            status_ = fail(ML_BUSY, "%s: the context is running a call of another thread; a context serves one thread at a time", op);
        } else {
            context_ = context;
        }
    }
    ~Guard() {
        if (context_ == nullptr) return;
        context_->scratch.reset();
        context_->busy.store(false, std::memory_order_release);
    }
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;
    ml_status status() const { return status_; }

private:
    ml_context *context_ = nullptr;
    ml_status status_ = ML_OK;
};

// Runs a call under the guard.
template <class Call>
int32_t guarded(ml_context *context, const char *op, const Call &call) {
    Guard guard(context, op);
    return guard.status() != ML_OK ? guard.status() : contained(op, [&] { return call(*context); });
}

// From the begin of a recording or a plan to its end the context is of the thread that began it: another one's ops would be
// taken up, not run.
inline ml_status of_this_thread(const Context &c, const char *op) {
    if (!c.recording.active || c.recording.thread == std::this_thread::get_id()) return ML_OK;
    return fail(ML_BUSY, "%s: in another thread %s on this context; call it after that thread has called %s", op, c.recording.what(),
                c.recording.ending());
}

// The same for a call that a recording takes up: one that queues work on the device and nothing else.
template <class Call>
int32_t recordable(ml_context *context, const char *op, const Call &call) {
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        const ml_status status = contained(op, [&] { return call(c); });
        return c.recording.active ? c.recording.note(op, status) : status;
    });
}

// The same for a call that cannot be part of a recording.
template <class Call>
int32_t unrecordable(ml_context *context, const char *op, const Call &call) {
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        if (c.recording.active) {
            return fail(ML_INVALID_ARGUMENT, "%s: %s, and this call cannot be part of it; call it before that begins or after %s", op,
                        c.recording.what(), c.recording.ending());
        }
        return call(c);
    });
}

// The same for an op: validate(check, descriptors ...), then the table's entry.
template <class... Desc, class Validate>
int32_t run_op(ml_context *context, const char *op, ml_status (*OpTable::*entry)(Context &, const Desc &...), const Validate &validate,
               const Desc *...given) {
    return recordable(context, op, [&](Context &c) -> ml_status {
        if (((given == nullptr) || ...)) {
            return fail(ML_INVALID_ARGUMENT, "%s: %s is NULL", op, sizeof...(Desc) == 1 ? "desc" : "a descriptor");
        }
        // Copies: what another thread writes into the caller's meanwhile is of no effect.
        return [&](const Desc... desc) {
            Check check(c, op);
            validate(check, desc...);
            return check.ok() ? (c.backend.ops->*entry)(c, desc...) : check.status();
        }(*given...);
    });
}

}  // namespace metalora
