// What SwiGLU's kernels share.
#pragma once

#include "cuda/device.cuh"

namespace metalora {
namespace cuda {

__device__ inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

}  // namespace cuda
}  // namespace metalora
