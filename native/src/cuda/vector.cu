// Vectors of adapter parameters and gradients: fill, broadcast, clipping, optimizer steps. All bound by memory bandwidth,
// so each is a single pass; blockIdx.y is the slot.
#include "core/adamw_factors.h"
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kClipPart = 8192;    // floats that are worth a block of a norm
constexpr int64_t kClipParts = 2048;   // blocks that share a norm's floats, or adding their sums up would show

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

// T is float or a pack, which stays whole: nvcc stores a pack that load() took apart float by float.
template <class T> __global__ void broadcast_kernel(T *to, const T *from, int64_t count, int64_t stride) {
    const int64_t i = element(1);
    if (i < count) to[blockIdx.y * stride + i] = from[i];
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

// What a step makes of N elements.
template <int N>
__device__ inline void adamw_take(const ml_adamw_desc &d, const AdamWFactors &f, int64_t at, float (&p)[N], float (&m)[N], float (&v)[N]) {
    float g[N];
    load<N>(p, d.parameter + at);
    load<N>(g, d.grad + at);
    load<N>(m, d.m + at);
    load<N>(v, d.v + at);
    for (int j = 0; j < N; j++) {
        m[j] = d.beta1 * m[j] + f.rest1 * g[j];
        v[j] = d.beta2 * v[j] + f.rest2 * (g[j] * g[j]);
        p[j] = p[j] * f.keep - f.step * (m[j] / (sqrtf(v[j]) * f.unbias + d.eps));
    }
}

// A slot whose step would not be finite gets a norm that is none: whichever thread sees it writes the same.
template <int N> __global__ void adamw_check_kernel(ml_adamw_desc d, AdamWFactors f) {
    const int64_t i = element(N), at = blockIdx.y * d.stride + i;
    if (i >= d.count) return;
    float p[N], m[N], v[N];
    adamw_take<N>(d, f, at, p, m, v);
    bool finite = true;
    for (int j = 0; j < N; j++) finite = finite && isfinite(p[j]) && isfinite(m[j]) && isfinite(v[j]);
    if (!finite) d.norm[blockIdx.y] = NAN;
}

template <int N> __global__ void adamw_kernel(ml_adamw_desc d, AdamWFactors f) {
    const int64_t i = element(N), at = blockIdx.y * d.stride + i;
    if (i >= d.count || (d.norm != nullptr && !isfinite(d.norm[blockIdx.y]))) return;
    float p[N], m[N], v[N];
    adamw_take<N>(d, f, at, p, m, v);
    store<N>(d.m + at, m);
    store<N>(d.v + at, v);
    store<N>(d.parameter + at, p);
}

template <int N> cudaError_t adamw(const ml_adamw_desc &d, cudaStream_t stream) {
    const AdamWFactors f = adamw_factors(d);
    const Grid cover = grid(d.count, N, d.slots);
    if (d.norm != nullptr) {
        const cudaError_t error = launch(adamw_check_kernel<N>, cover, dim3(kThreads), 0, stream, d, f);
        if (error != cudaSuccess) return error;
    }
    return launch(adamw_kernel<N>, cover, dim3(kThreads), 0, stream, d, f);
}

template <int N> __global__ void squares_kernel(const float *grad, int64_t count, int64_t stride, int64_t part, double *partial) {
    const float *from = grad + blockIdx.y * stride;
    const int64_t begin = blockIdx.x * part, end = begin + part < count ? begin + part : count;
    double sum = 0;
    for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
        float v[N];
        load<N>(v, from + i);
        for (int j = 0; j < N; j++) sum += static_cast<double>(v[j]) * v[j];
    }
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) partial[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Every block adds the partial sums up again: it is cheaper than another launch, and the order is the same in all.
template <int N>
__global__ void clip_kernel(float *grad, float *norm, int64_t count, int64_t stride, int64_t part, float max_norm, const double *partial) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < gridDim.x; i += kThreads) sum += partial[blockIdx.y * gridDim.x + i];
    const double length = sqrt(block_sum<kThreads>(sum));
    if (blockIdx.x == 0 && threadIdx.x == 0) norm[blockIdx.y] = static_cast<float>(length);
    const double factor = max_norm / (length + 1e-6);
    if (!(max_norm > 0) || !(factor < 1)) return;
    float *to = grad + blockIdx.y * stride;
    const int64_t begin = blockIdx.x * part, end = begin + part < count ? begin + part : count;
    for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) {
        float v[N];
        load<N>(v, to + i);
        for (int j = 0; j < N; j++) v[j] *= static_cast<float>(factor);
        store<N>(to + i, v);
    }
}

// Floats a block sums, and how many do. Of the count alone, so that the sum's bits are.
int64_t clip_part(int64_t count) {
    const int64_t part = blocks_for(blocks_for(count, kClipParts), 4 * kThreads) * 4 * kThreads;
    return part < kClipPart ? kClipPart : part;
}

int64_t clip_parts(int64_t count) { return count == 0 ? 1 : blocks_for(count, clip_part(count)); }

}  // namespace

cudaError_t fill(float *values, int64_t count, float value, cudaStream_t stream) {
    if (count == 0) return cudaSuccess;
    return packable<4>(count, values) ? launch(fill_kernel<4>, grid(count, 4, 1), dim3(kThreads), 0, stream, values, count, value)
                                      : launch(fill_kernel<1>, grid(count, 1, 1), dim3(kThreads), 0, stream, values, count, value);
}

cudaError_t broadcast(float *to, const float *from, int64_t count, int64_t stride, int64_t slots, cudaStream_t stream) {
    if (count == 0 || slots == 0) return cudaSuccess;
    if (!packable<4>(count | stride, to, from)) {
        return launch(broadcast_kernel<float>, grid(count, 1, slots), dim3(kThreads), 0, stream, to, from, count, stride);
    }
    return launch(broadcast_kernel<Pack<float>>, grid(count, 4, slots), dim3(kThreads), 0, stream, reinterpret_cast<Pack<float> *>(to),
                  reinterpret_cast<const Pack<float> *>(from), count / 4, stride / 4);
}

cudaError_t sgd_step(const ml_sgd_desc &d, cudaStream_t stream) {
    if (d.count == 0 || d.slots == 0) return cudaSuccess;
    return packable<4>(d.count | d.stride, d.parameter, d.grad)
        ? launch(sgd_kernel<4>, grid(d.count, 4, d.slots), dim3(kThreads), 0, stream, d)
        : launch(sgd_kernel<1>, grid(d.count, 1, d.slots), dim3(kThreads), 0, stream, d);
}

cudaError_t adamw_step(const ml_adamw_desc &d, cudaStream_t stream) {
    if (d.count == 0 || d.slots == 0) return cudaSuccess;
    return packable<4>(d.count | d.stride, d.parameter, d.grad, d.m, d.v) ? adamw<4>(d, stream) : adamw<1>(d, stream);
}

int64_t clip_global_norm_scratch(const ml_clip_desc &d) { return clip_parts(d.count) * d.slots; }

cudaError_t clip_global_norm(const ml_clip_desc &d, double *scratch, cudaStream_t stream) {
    if (d.slots == 0) return cudaSuccess;
    const int64_t part = clip_part(d.count);
    const Grid cover(clip_parts(d.count), d.slots);
    const bool packs = packable<4>(d.count | d.stride, d.grad);
    const cudaError_t error = launch(packs ? squares_kernel<4> : squares_kernel<1>, cover, dim3(kThreads), 0, stream, d.grad, d.count,
                                     d.stride, part, scratch);
    if (error != cudaSuccess) return error;
    return launch(packs ? clip_kernel<4> : clip_kernel<1>, cover, dim3(kThreads), 0, stream, d.grad, d.norm, d.count, d.stride, part,
                  d.max_norm, scratch);
}

}  // namespace cuda
}  // namespace metalora
