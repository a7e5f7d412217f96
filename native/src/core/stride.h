// Strides as metalora.h has them.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace metalora {

// Elements from row to row: 0 stands for dense. (static: each instruction set of the CPU has its own.)
static inline int64_t stride_of(int64_t stride, int64_t width) { return stride == 0 ? width : stride; }

// Where row `row` begins, with rows of `width` side by side, `group` of them, and `stride` from one group to the next.
ML_HOST_DEVICE static inline int64_t row_offset(int64_t row, int64_t group, int64_t width, int64_t stride) {
    return row / group * stride + row % group * width;
}

}  // namespace metalora
