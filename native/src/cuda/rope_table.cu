// cos and sin of the rotary embedding's angles, in double; once for a model.
#include "core/rope_frequency.h"
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;

__global__ void table_kernel(ml_rope_table_desc d) {
    const int64_t half = d.head_dim / 2, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= d.positions * half) return;
    const double angle = static_cast<double>(i / half) * rope_inverse_frequency(d, i % half);
    d.cos[i] = static_cast<float>(cos(angle));
    d.sin[i] = static_cast<float>(sin(angle));
}

}  // namespace

cudaError_t rope_table(const ml_rope_table_desc &d, cudaStream_t stream) {
    const int64_t count = d.positions * (d.head_dim / 2);
    if (count == 0) return cudaSuccess;
    return launch(table_kernel, Grid(blocks_for(count, kThreads)), dim3(kThreads), 0, stream, d);
}

}  // namespace cuda
}  // namespace metalora
