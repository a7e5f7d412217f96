#include "core/error.h"

#include <cstdarg>
#include <cstdio>

namespace metalora {

static thread_local char error_text[1024];

ml_status fail(ml_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error_text, sizeof error_text, format, arguments);
    va_end(arguments);
    return status;
}

const char *last_error() { return error_text; }

}  // namespace metalora
