// Limits, sizes and checks that several ops share.
#pragma once

#include "core/check.h"
#include "core/stride.h"

namespace metalora {

constexpr int64_t kMaxFeatures = int64_t(1) << 24;
constexpr int64_t kMaxHeads = 65535;  // what one dimension of a grid holds
constexpr int64_t kMaxSlots = 65000;  // that too, and parts of tokens beside them

// Floats from the first to one past the last element of `slots` vectors, `stride` apart.
inline Count span(int64_t slots, int64_t stride, Count count) {
    return slots <= 0 ? Count(0) : Count(slots - 1) * Count(stride) + count;
}

// Slots of `count` floats, `stride` apart, do not overlap.
inline bool check_slots(Check &c, int64_t count, int64_t stride, int64_t slots) {
    c.range("count", count, 0, INT64_MAX).range("slots", slots, 0, kMaxSlots);
    if (slots > 1) c.range("stride", stride, count, INT64_MAX);
    return c.ok();
}

// Of a whole descriptor, for the ops that take it.
void check_rmsnorm_forward(Check &, const ml_rmsnorm_desc &);
void check_swiglu_forward(Check &, const ml_swiglu_desc &);
void check_lora_linear_forward(Check &, const ml_lora_linear_desc &);

// The linear reads, row by row, what the op before it writes: `y`, named so in messages.
void check_reads(Check &, const ml_lora_linear_desc &, const char *y_field, const void *y, int64_t rows, int64_t width, int64_t stride);

}  // namespace metalora
