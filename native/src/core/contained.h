// Where exceptions become a status. Not for the CPU kernels, which are compiled once an instruction set and share no templates.
#pragma once

#include <exception>
#include <new>

#include "core/error.h"

namespace metalora {

// Runs what may throw: no exception crosses the C boundary, nor that between the library and the CUDA backend's.
template <class Call> ml_status contained(const char *op, const Call &call) {
    try {
        return call();
    } catch (const std::bad_alloc &) {
        return fail(ML_OUT_OF_MEMORY, "%s: no memory", op);
    } catch (const std::exception &e) {
        return fail(ML_INTERNAL, "%s: %s", op, e.what());
    } catch (...) {
        return fail(ML_INTERNAL, "%s: unknown failure", op);
    }
}

}  // namespace metalora
