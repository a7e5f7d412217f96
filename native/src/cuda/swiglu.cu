// SwiGLU (Shazeer 2020): y = silu(gate) * up.
#include "cuda/kernels.h"
#include "cuda/shrink.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;

__device__ inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

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

// Rows for shrink.h.
struct GatedRows {
    const bf16 *gate, *up;
    bf16 *y;
    int64_t rows;
    int width;
    int64_t gate_stride, stride;  // of gate and up; of y

    __device__ void begin(int64_t) const {}

    __device__ void make(int64_t row0, int k, Pack<bf16> (&packs)[shrinking::kEach]) const {
        Pack<bf16> g[shrinking::kEach], u[shrinking::kEach];  // all on their way before the first is stored
        const int64_t first = row0 + threadIdx.x % kWarp / 4;
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            const int64_t at = there ? (first + i * 8) * gate_stride + k : 0;
            g[i] = *reinterpret_cast<const Pack<bf16> *>(gate + at);
            u[i] = *reinterpret_cast<const Pack<bf16> *>(up + at);
        }
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            ML_UNROLL
            for (int j = 0; j < 8; j++) {
                const float z = to_float(g[i].at[j]);
                packs[i].at[j] = to_bf16(there ? z * sigmoid(z) * to_float(u[i].at[j]) : 0.0f);
            }
            if (there) *reinterpret_cast<Pack<bf16> *>(y + (first + i * 8) * stride + k) = packs[i];
        }
    }
};

// The kernel for packs of elements, or the one for single ones.
template <class Kernel> cudaError_t run(ml_swiglu_desc d, bool packs, Kernel of_packs, Kernel of_one, cudaStream_t stream) {
    const int64_t count = d.rows * d.width;
    if (count == 0) return cudaSuccess;
    d.gate_stride = stride_of(d.gate_stride, d.width), d.y_stride = stride_of(d.y_stride, d.width);
    return launch(packs ? of_packs : of_one, Grid(blocks_for(count, kThreads * (packs ? 8 : 1))), dim3(kThreads), 0, stream, d);
}

}  // namespace

template <class T> cudaError_t swiglu_forward(State &s, const ml_swiglu_desc &d) {
    if (d.rows == 0) return cudaSuccess;
    const bool packs = packable<8>(d.width | d.gate_stride | d.y_stride, d.gate, d.up, d.y);
    Shrink shrink;
    if (d.next != nullptr) {
        if (const cudaError_t error = begin_shrink<T>(s, *d.next, shrink); error != cudaSuccess) return error;
        if (packs && shrink.on_the_way) {
            return make_and_shrink(s, GatedRows{static_cast<const bf16 *>(d.gate), static_cast<const bf16 *>(d.up), static_cast<bf16 *>(d.y), d.rows,
                                                static_cast<int>(d.width), stride_of(d.gate_stride, d.width), stride_of(d.y_stride, d.width)}, shrink);
        }
    }
    const cudaError_t error = run(d, packs, forward_kernel<T, 8>, forward_kernel<T, 1>, s.stream);
    return error != cudaSuccess || d.next == nullptr ? error : shrink_rows<T>(s, *d.next, shrink);
}

template <class T> cudaError_t swiglu_backward(const ml_swiglu_desc &d, cudaStream_t stream) {
    const bool packs = packable<8>(d.width | d.gate_stride, d.gate, d.up, d.dy, d.dgate, d.dup);
    return run(d, packs, backward_kernel<T, 8>, backward_kernel<T, 1>, stream);
}

template cudaError_t swiglu_forward<float>(State &, const ml_swiglu_desc &);
template cudaError_t swiglu_forward<bf16>(State &, const ml_swiglu_desc &);
template cudaError_t swiglu_backward<float>(const ml_swiglu_desc &, cudaStream_t);
template cudaError_t swiglu_backward<bf16>(const ml_swiglu_desc &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
