#include "core/check.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace metalora {

using ll = long long;

void Check::report(const char *field, const char *problem, ...) {
    char text[512];
    va_list values;
    va_start(values, problem);
    std::vsnprintf(text, sizeof text, problem, values);
    va_end(values);
    status_ = fail(ML_INVALID_ARGUMENT, "%s: %s%s%s%s", op_, of_, *of_ == 0 ? "" : ".", field, text);
}

Check &Check::range(const char *field, int64_t value, int64_t first, int64_t last) {
    if (ok() && (value < first || value > last)) {
        report(field, ": %lld is outside [%lld, %lld]", ll(value), ll(first), ll(last));
    }
    return *this;
}

Check &Check::finite(const char *field, double value) {
    if (ok() && !std::isfinite(value)) {
        report(field, ": %g is not a finite number", value);
    }
    return *this;
}

Check &Check::require(bool condition, const char *field, const char *problem) {
    if (ok() && !condition) report(field, ": %s", problem);
    return *this;
}

Check &Check::buffer(const char *field, const void *pointer, Count elements, size_t element_bytes) {
    if (!ok()) return *this;
    const Count bytes = elements * Count(static_cast<int64_t>(element_bytes));
    if (!bytes.valid()) {
        report(field, ": the size of this array overflows; check the sizes and strides");
        return *this;
    }
    if (bytes.value() == 0) return *this;
    if (pointer == nullptr) {
        report(field, " is NULL; %lld bytes are needed", ll(bytes.value()));
        return *this;
    }
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    if (address % element_bytes != 0) {
        report(field, ": the address is not aligned to %zu bytes", element_bytes);
        return *this;
    }
    auto after = context_.buffers.upper_bound(address);
    if (after == context_.buffers.begin()) {
        report(field, ": not memory of this context (ml_alloc)");
        return *this;
    }
    const auto &[start, length] = *std::prev(after);
    if (address - start >= length) {
        report(field, ": not memory of this context (ml_alloc)");
    } else if (static_cast<uint64_t>(bytes.value()) > length - (address - start)) {
        report(field, ": %lld bytes are needed, but its buffer ends after %zu",
               ll(bytes.value()), static_cast<size_t>(length - (address - start)));
    }
    return *this;
}

Check &Check::activations(const char *field, const void *pointer, Count n) {
    return buffer(field, pointer, n, context_.backend.activation_dtype == ML_F32 ? 4 : 2);
}

Check &Check::activations(const char *field, const void *pointer, int64_t rows, Count width, int64_t stride, int64_t spare) {
    const Count last = width + Count(spare);
    return activations(field, pointer, rows == 0 ? Count(0) : Count(rows - 1) * (stride == 0 ? width : Count(stride)) + last);
}

Check &Check::stride(const char *field, int64_t stride, Count least) {
    if (ok() && stride != 0 && (!least.valid() || stride < least.value() || stride > INT32_MAX)) {
        report(field, ": %lld is neither 0 (dense) nor between the %lld elements of a row and %d",
               ll(stride), ll(least.value()), INT32_MAX);
    }
    return *this;
}

Check &Check::weight(const char *field, const ml_weight *weight) {
    if (!ok()) return *this;
    if (weight == nullptr) {
        report(field, " is NULL");
    } else if (context_.weights.count(weight) == 0) {
        report(field, ": not a live weight of this context");
    }
    return *this;
}

Check &Check::offsets(const char *field, const int32_t *offsets, int64_t segments, int64_t end) {
    this->offsets(field, offsets, segments);
    if (ok() && context_.backend.host_readable && offsets[segments] != end) {
        report(field, ": the last offset is %d, but the pack has %lld tokens", offsets[segments], ll(end));
    }
    return *this;
}

Check &Check::offsets(const char *field, const int32_t *offsets, int64_t segments) {
    ints(field, offsets, Count(segments) + Count(1));
    if (!ok() || !context_.backend.host_readable) return *this;
    if (offsets[0] != 0) {
        report(field, ": the first offset is %d, not 0", offsets[0]);
        return *this;
    }
    for (int64_t i = 0; i < segments; i++) {
        if (offsets[i + 1] < offsets[i]) {
            report(field, ": decreases at %lld, from %d to %d", ll(i + 1), offsets[i], offsets[i + 1]);
            return *this;
        }
    }
    return *this;
}

Check &Check::each_below(const char *field, const int32_t *values, int64_t count, int64_t limit) {
    ints(field, values, count);
    if (!ok() || !context_.backend.host_readable) return *this;
    for (int64_t i = 0; i < count; i++) {
        if (values[i] < 0 || values[i] >= limit) {
            report(field, "[%lld] is %d, outside [0, %lld)", ll(i), values[i], ll(limit));
            return *this;
        }
    }
    return *this;
}

Check &Check::ascending(const char *field, const int32_t *values, int64_t count, int64_t limit) {
    each_below(field, values, count, limit);
    if (!ok() || !context_.backend.host_readable) return *this;
    for (int64_t i = 1; i < count; i++) {
        if (values[i] <= values[i - 1]) {
            report(field, "[%lld] is %d, not above the %d before it", ll(i), values[i], values[i - 1]);
            return *this;
        }
    }
    return *this;
}

}  // namespace metalora
