// Strides as metalora.h has them.
#pragma once

#include <cstdint>

namespace metalora {

// Elements from row to row: 0 stands for dense. (static: each instruction set of the CPU has its own.)
static inline int64_t stride_of(int64_t stride, int64_t width) { return stride == 0 ? width : stride; }

}  // namespace metalora
