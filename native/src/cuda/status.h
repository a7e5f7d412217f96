// CUDA's errors as the library's.
#pragma once

#include "core/error.h"
#include "cuda/device.cuh"

namespace metalora {
namespace cuda {

// Clears the error, which CUDA would return to the next launch again. `shapes` is what was at work, in brackets, or nothing.
inline ml_status status_of(cudaError_t error, const char *what, const char *shapes = "") {
    if (error == cudaSuccess) return ML_OK;
    cudaGetLastError();
    return fail(error == cudaErrorMemoryAllocation ? ML_OUT_OF_MEMORY : ML_INTERNAL, "%s: CUDA: %s%s", what, cudaGetErrorString(error), shapes);
}

}  // namespace cuda
}  // namespace metalora
