// What the library says about itself: version, names of statuses, the last error.
#include "core/error.h"

using namespace metalora;

int32_t ml_abi_version(void) { return ML_ABI_VERSION; }

const char *ml_version(void) { return METALORA_VERSION; }

const char *ml_status_name(int32_t status) {
    switch (status) {
        case ML_OK: return "ML_OK";
        case ML_INVALID_ARGUMENT: return "ML_INVALID_ARGUMENT";
        case ML_OUT_OF_MEMORY: return "ML_OUT_OF_MEMORY";
        case ML_UNSUPPORTED: return "ML_UNSUPPORTED";
        case ML_BACKEND_UNAVAILABLE: return "ML_BACKEND_UNAVAILABLE";
        case ML_BUSY: return "ML_BUSY";
        case ML_NOT_FINITE: return "ML_NOT_FINITE";
        case ML_INTERNAL: return "ML_INTERNAL";
        default: return "unknown status";
    }
}

const char *ml_last_error(void) { return last_error(); }
