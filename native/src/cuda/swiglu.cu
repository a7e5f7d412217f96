// SwiGLU (Shazeer 2020): y = silu(gate) * up.
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;

__device__ inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

template <class T, int N> __global__ void forward_kernel(const T *gate, const T *up, T *y, int64_t count) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (i >= count) return;
    float g[N], u[N];
    load<N>(g, gate + i);
    load<N>(u, up + i);
    for (int j = 0; j < N; j++) g[j] = g[j] * sigmoid(g[j]) * u[j];
    store<N>(y + i, g);
}

// d silu(g) / dg = s + g s (1 - s) with s = sigmoid(g). Everything is read before anything is written: outputs may be inputs.
template <class T, int N>
__global__ void backward_kernel(const T *gate, const T *up, const T *dy, T *dgate, T *dup, int64_t count) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (i >= count) return;
    float g[N], u[N], grad[N];
    load<N>(g, gate + i);
    load<N>(u, up + i);
    load<N>(grad, dy + i);
    for (int j = 0; j < N; j++) {
        const float s = sigmoid(g[j]);
        u[j] = grad[j] * u[j] * (g[j] * s * (1.0f - s) + s);
        g[j] = grad[j] * g[j] * s;
    }
    store<N>(dgate + i, u);
    store<N>(dup + i, g);
}

Grid grid(int64_t count, int n) { return Grid(blocks_for(count, kThreads * n)); }

}  // namespace

template <class T> cudaError_t swiglu_forward(const ml_swiglu_desc &d, cudaStream_t stream) {
    if (d.count == 0) return cudaSuccess;
    const auto *gate = static_cast<const T *>(d.gate), *up = static_cast<const T *>(d.up);
    auto *y = static_cast<T *>(d.y);
    return packable<8>(d.count, gate, up, y)
        ? launch(forward_kernel<T, 8>, grid(d.count, 8), dim3(kThreads), 0, stream, gate, up, y, d.count)
        : launch(forward_kernel<T, 1>, grid(d.count, 1), dim3(kThreads), 0, stream, gate, up, y, d.count);
}

template <class T> cudaError_t swiglu_backward(const ml_swiglu_desc &d, cudaStream_t stream) {
    if (d.count == 0) return cudaSuccess;
    const auto *gate = static_cast<const T *>(d.gate), *up = static_cast<const T *>(d.up), *dy = static_cast<const T *>(d.dy);
    auto *dgate = static_cast<T *>(d.dgate), *dup = static_cast<T *>(d.dup);
    return packable<8>(d.count, gate, up, dy, dgate, dup)
        ? launch(backward_kernel<T, 8>, grid(d.count, 8), dim3(kThreads), 0, stream, gate, up, dy, dgate, dup, d.count)
        : launch(backward_kernel<T, 1>, grid(d.count, 1), dim3(kThreads), 0, stream, gate, up, dy, dgate, dup, d.count);
}

template cudaError_t swiglu_forward<float>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_forward<bf16>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_backward<float>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_backward<bf16>(const ml_swiglu_desc &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
