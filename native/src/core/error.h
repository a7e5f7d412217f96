// Status and the calling thread's last-error text.
#pragma once

#include "metalora.h"

namespace metalora {

// Records the text of a failure and returns its status, so that a failing function ends in `return fail(...)`.
ml_status fail(ml_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *last_error();

}  // namespace metalora
