// Vectors of adapter parameters and gradients: fill, broadcast, clipping, optimizer steps. All bound by memory bandwidth,
// so each is a single pass; blockIdx.y is the slot.
#include "core/adamw_factors.h"
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kClipBlock = 16384;  // floats a block sums; fixed, so that the sum's bits are

__device__ inline int64_t element(int n) { return (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * n; }

Grid grid(int64_t count, int n, int64_t slots) {
    return Grid(blocks_for(count, kThreads * n), slots);
}

template <int N> __global__ void fill_kernel(float *values, int64_t count, float value) {
    const int64_t i = element(N);
    if (i >= count) return;
    float v[N];
    for (int j = 0; j < N; j++) v[j] = value;
    store<N>(values + i, v);
}

template <int N> __global__ void broadcast_kernel(float *to, const float *from, int64_t count, int64_t stride) {
    const int64_t i = element(N);
    if (i >= count) return;
    float v[N];
    load<N>(v, from + i);
    store<N>(to + blockIdx.y * stride + i, v);
}

template <int N> __global__ void sgd_kernel(ml_sgd_desc d) {
    const int64_t i = element(N), at = blockIdx.y * d.stride + i;
    if (i >= d.count) return;
    float p[N], g[N];
    load<N>(p, d.parameter + at);
    load<N>(g, d.grad + at);
    for (int j = 0; j < N; j++) p[j] -= d.lr * (g[j] + d.weight_decay * p[j]);
    store<N>(d.parameter + at, p);
}

template <int N> __global__ void adamw_kernel(ml_adamw_desc d, AdamWFactors f) {
    const int64_t i = element(N), at = blockIdx.y * d.stride + i;
    if (i >= d.count) return;
    float p[N], g[N], m[N], v[N];
    load<N>(p, d.parameter + at);
    load<N>(g, d.grad + at);
    load<N>(m, d.m + at);
    load<N>(v, d.v + at);
    for (int j = 0; j < N; j++) {
        m[j] = d.beta1 * m[j] + f.rest1 * g[j];
        v[j] = d.beta2 * v[j] + f.rest2 * (g[j] * g[j]);
        p[j] = p[j] * f.keep - f.step * (m[j] / (sqrtf(v[j]) * f.unbias + d.eps));
    }
    store<N>(d.m + at, m);
    store<N>(d.v + at, v);
    store<N>(d.parameter + at, p);
}

__global__ void squares_kernel(const float *grad, int64_t count, int64_t stride, double *partial) {
    const float *from = grad + blockIdx.y * stride;
    const int64_t begin = blockIdx.x * kClipBlock, end = begin + kClipBlock < count ? begin + kClipBlock : count;
    double sum = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += static_cast<double>(from[i]) * from[i];
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Every block adds the partial sums up again: it is cheaper than another launch, and the order is the same in all.
__global__ void clip_kernel(float *grad, float *norm, int64_t count, int64_t stride, float max_norm, const double *partial,
                            int64_t partials) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < partials; i += kThreads) sum += partial[blockIdx.y * partials + i];
    const double length = sqrt(block_sum<kThreads>(sum));
    if (blockIdx.x == 0 && threadIdx.x == 0) norm[blockIdx.y] = static_cast<float>(length);
    const double factor = max_norm / (length + 1e-6);
    if (!(max_norm > 0) || !(factor < 1)) return;
    float *to = grad + blockIdx.y * stride;
    const int64_t begin = blockIdx.x * kClipBlock, end = begin + kClipBlock < count ? begin + kClipBlock : count;
    for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) to[i] *= static_cast<float>(factor);
}

int64_t clip_blocks(int64_t count) { return count == 0 ? 1 : blocks_for(count, kClipBlock); }

}  // namespace

cudaError_t fill(float *values, int64_t count, float value, cudaStream_t stream) {
    if (count == 0) return cudaSuccess;
    return packable<4>(count, values) ? launch(fill_kernel<4>, grid(count, 4, 1), dim3(kThreads), 0, stream, values, count, value)
                                      : launch(fill_kernel<1>, grid(count, 1, 1), dim3(kThreads), 0, stream, values, count, value);
}

cudaError_t broadcast(float *to, const float *from, int64_t count, int64_t stride, int64_t slots, cudaStream_t stream) {
    if (count == 0 || slots == 0) return cudaSuccess;
    return packable<4>(count | stride, to, from)
        ? launch(broadcast_kernel<4>, grid(count, 4, slots), dim3(kThreads), 0, stream, to, from, count, stride)
        : launch(broadcast_kernel<1>, grid(count, 1, slots), dim3(kThreads), 0, stream, to, from, count, stride);
}

cudaError_t sgd_step(const ml_sgd_desc &d, cudaStream_t stream) {
    if (d.count == 0 || d.slots == 0) return cudaSuccess;
    return packable<4>(d.count | d.stride, d.parameter, d.grad)
        ? launch(sgd_kernel<4>, grid(d.count, 4, d.slots), dim3(kThreads), 0, stream, d)
        : launch(sgd_kernel<1>, grid(d.count, 1, d.slots), dim3(kThreads), 0, stream, d);
}

cudaError_t adamw_step(const ml_adamw_desc &d, cudaStream_t stream) {
    if (d.count == 0 || d.slots == 0) return cudaSuccess;
    const AdamWFactors f = adamw_factors(d);
    return packable<4>(d.count | d.stride, d.parameter, d.grad, d.m, d.v)
        ? launch(adamw_kernel<4>, grid(d.count, 4, d.slots), dim3(kThreads), 0, stream, d, f)
        : launch(adamw_kernel<1>, grid(d.count, 1, d.slots), dim3(kThreads), 0, stream, d, f);
}

int64_t clip_global_norm_scratch(const ml_clip_desc &d) { return clip_blocks(d.count) * d.slots; }

cudaError_t clip_global_norm(const ml_clip_desc &d, double *scratch, cudaStream_t stream) {
    if (d.slots == 0) return cudaSuccess;
    const int64_t blocks = clip_blocks(d.count);
    const Grid cover(blocks, d.slots);
    const cudaError_t error = launch(squares_kernel, cover, dim3(kThreads), 0, stream, d.grad, d.count, d.stride, scratch);
    if (error != cudaSuccess) return error;
    return launch(clip_kernel, cover, dim3(kThreads), 0, stream, d.grad, d.norm, d.count, d.stride, d.max_norm, scratch, blocks);
}

}  // namespace cuda
}  // namespace metalora
