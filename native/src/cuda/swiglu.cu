// SwiGLU (Shazeer 2020): y = silu(gate) * up.
#include "cuda/kernels.h"
#include "cuda/sigmoid.cuh"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;

// Where a thread's elements lie among gate's and in dense rows, if it has any.
struct Place {
    int64_t row, column, gate;
};

template <int N> __device__ inline bool find(const ml_swiglu_desc &d, Place &at) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (i >= d.rows * d.width) return false;
    at.row = i / d.width, at.column = i % d.width, at.gate = at.row * d.gate_stride + at.column;
    return true;
}

template <class T, int N> __global__ void forward_kernel(const __grid_constant__ ml_swiglu_desc d) {
    Place at;
    if (!find<N>(d, at)) return;
    float g[N], u[N];
    load<N>(g, static_cast<const T *>(d.gate) + at.gate);
    load<N>(u, static_cast<const T *>(d.up) + at.gate);
    for (int j = 0; j < N; j++) g[j] = g[j] * sigmoid(g[j]) * u[j];
    store<N>(static_cast<T *>(d.y) + at.row * d.y_stride + at.column, g);
}

// d silu(g) / dg = s + g s (1 - s) with s = sigmoid(g). Everything is read before anything is written: outputs may be inputs.
template <class T, int N> __global__ void backward_kernel(const __grid_constant__ ml_swiglu_desc d) {
    Place at;
    if (!find<N>(d, at)) return;
    float g[N], u[N], grad[N];
    load<N>(g, static_cast<const T *>(d.gate) + at.gate);
    load<N>(u, static_cast<const T *>(d.up) + at.gate);
    load<N>(grad, static_cast<const T *>(d.dy) + at.row * d.width + at.column);
    for (int j = 0; j < N; j++) {
        const float s = sigmoid(g[j]);
        u[j] = grad[j] * u[j] * (g[j] * s * (1.0f - s) + s);
        g[j] = grad[j] * g[j] * s;
    }
    store<N>(static_cast<T *>(d.dgate) + at.gate, u);
    store<N>(static_cast<T *>(d.dup) + at.gate, g);
}

// The kernel for packs of elements, or the one for single ones.
template <class Kernel> cudaError_t run(ml_swiglu_desc d, bool packs, Kernel of_packs, Kernel of_one, cudaStream_t stream) {
    const int64_t count = d.rows * d.width;
    if (count == 0) return cudaSuccess;
    d.gate_stride = stride_of(d.gate_stride, d.width), d.y_stride = stride_of(d.y_stride, d.width);
    return launch(packs ? of_packs : of_one, Grid(blocks_for(count, kThreads * (packs ? 8 : 1))), dim3(kThreads), 0, stream, d);
}

}  // namespace

template <class T> cudaError_t swiglu_forward(const ml_swiglu_desc &d, cudaStream_t stream) {
    const bool packs = packable<8>(d.width | d.gate_stride | d.y_stride, d.gate, d.up, d.y);
    return run(d, packs, forward_kernel<T, 8>, forward_kernel<T, 1>, stream);
}

template <class T> cudaError_t swiglu_backward(const ml_swiglu_desc &d, cudaStream_t stream) {
    const bool packs = packable<8>(d.width | d.gate_stride, d.gate, d.up, d.dy, d.dgate, d.dup);
    return run(d, packs, backward_kernel<T, 8>, backward_kernel<T, 1>, stream);
}

template cudaError_t swiglu_forward<float>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_forward<bf16>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_backward<float>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_backward<bf16>(const ml_swiglu_desc &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
