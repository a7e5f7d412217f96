// Splitting element-wise work over threads and into vectors.
#pragma once

#include "cpu/runtime.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

// Floats a part should have at least: below it, waking a thread costs more than it brings.
constexpr int64_t kPartFloats = 16384;

// body(first, last) over ranges of [0, count) items of `floats` floats each. Range ends are multiples of `grain`.
template <class Body>
static void parallel_ranges(Context &context, int64_t count, int64_t floats, const Body &body, int64_t grain = 1) {
    const int64_t per_part = kPartFloats / (floats < 1 ? 1 : floats) + 1;
    int64_t parts = (count + per_part - 1) / per_part;
    const int64_t most = 4 * static_cast<int64_t>(cpu_threads(context));
    if (parts > most) parts = most;
    if (parts <= 1) {
        if (count > 0) body(static_cast<int64_t>(0), count);
        return;
    }
    int64_t step = (count + parts - 1) / parts;
    step = (step + grain - 1) / grain * grain;
    parallel(context, static_cast<int>((count + step - 1) / step), [&](int part) {
        const int64_t first = part * step, last = first + step;
        body(first, last < count ? last : count);
    });
}

// body(at, n) for at = first, first + kWidth, ... below last; n is kWidth but for the end, where it is what is left.
template <class Body>
static inline __attribute__((always_inline)) void for_each_vector(int64_t first, int64_t last, const Body &body) {
    for (; first + kWidth <= last; first += kWidth) body(first, kWidth);
    if (first < last) body(first, static_cast<int>(last - first));
}

}  // namespace METALORA_ISA
}  // namespace metalora
