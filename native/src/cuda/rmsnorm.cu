// RMSNorm (Zhang and Sennrich 2019): a warp a row where rows are short (norms per head), a block a row otherwise.
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kShortRow = 512;  // elements that a warp takes on alone

template <int kGroup> __device__ inline float group_sum(float value) {
    if constexpr (kGroup == kWarp) return warp_sum(value);
    else return block_sum<kGroup>(value);
}

// How rows lie; strides are those of x, dy and the output.
struct Rows {
    int64_t rows, group, x_stride, dy_stride, out_stride;
    int width;
    explicit Rows(const ml_rmsnorm_desc &d) : rows(d.rows), group(d.group == 0 ? 1 : d.group), width(static_cast<int>(d.width)) {
        x_stride = stride_of(d.x_stride, group * width), dy_stride = stride_of(d.dy_stride, group * width), out_stride = stride_of(d.out_stride, group * width);
    }
    __device__ int64_t at(int64_t row, int64_t stride) const { return row_offset(row, group, width, stride); }
};

// N elements a thread at a time; kGroup threads a row.
template <class T, int N, int kGroup>
__global__ void forward_kernel(const T *x, const float *weight, T *y, float *rstd, Rows r, float eps) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
    if (row >= r.rows) return;  // whole warps; a block of one row has no such threads
    const int first = static_cast<int>(threadIdx.x) % kGroup * N, width = r.width;
    const T *from = x + r.at(row, r.x_stride);
    T *to = y + r.at(row, r.out_stride);
    float squares = 0;
    for (int i = first; i < width; i += kGroup * N) {
        float v[N];
        load<N>(v, from + i);
        for (int j = 0; j < N; j++) squares += v[j] * v[j];
    }
    const float scale = 1.0f / sqrtf(group_sum<kGroup>(squares) / static_cast<float>(width) + eps);
    if (rstd != nullptr && first == 0) rstd[row] = scale;
    for (int i = first; i < width; i += kGroup * N) {
        float v[N], w[N];
        load<N>(v, from + i);
        load<N>(w, weight + i);
        for (int j = 0; j < N; j++) v[j] = v[j] * scale * w[j];
        store<N>(to + i, v);
    }
}

// dx = rstd * (dy * weight - x * rstd^2 * mean(dy * weight * x))
template <class T, int N, int kGroup>
__global__ void backward_kernel(const T *x, const float *weight, const float *rstd, const T *dy, T *dx, Rows r, bool accumulate) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kGroup) + threadIdx.x / kGroup;
    if (row >= r.rows) return;
    const int first = static_cast<int>(threadIdx.x) % kGroup * N, width = r.width;
    const T *in = x + r.at(row, r.x_stride), *grad = dy + r.at(row, r.dy_stride);
    T *to = dx + r.at(row, r.out_stride);
    float along = 0;
    for (int i = first; i < width; i += kGroup * N) {
        float v[N], w[N], g[N];
        load<N>(v, in + i);
        load<N>(w, weight + i);
        load<N>(g, grad + i);
        for (int j = 0; j < N; j++) along += g[j] * w[j] * v[j];
    }
    const float scale = rstd[row];
    const float back = -scale * scale * scale * group_sum<kGroup>(along) / static_cast<float>(width);
    for (int i = first; i < width; i += kGroup * N) {
        float v[N], w[N], g[N];
        load<N>(v, in + i);
        load<N>(w, weight + i);
        load<N>(g, grad + i);
        for (int j = 0; j < N; j++) v[j] = v[j] * back + g[j] * w[j] * scale;
        if (accumulate) {
            float before[N];
            load<N>(before, to + i);
            for (int j = 0; j < N; j++) v[j] += before[j];
        }
        store<N>(to + i, v);
    }
}

template <int kGroup> Grid grid(int64_t rows) { return Grid(blocks_for(rows, kThreads / kGroup)); }

}  // namespace

template <class T> cudaError_t rmsnorm_forward(const ml_rmsnorm_desc &d, cudaStream_t stream) {
    if (d.rows == 0) return cudaSuccess;
    const Rows rows(d);
    const bool packs = packable<8>(d.width | d.x_stride | d.out_stride, d.x, d.weight, d.y);
    auto run = [&](auto kernel, Grid blocks) {
        return launch(kernel, blocks, dim3(kThreads), 0, stream, static_cast<const T *>(d.x), d.weight, static_cast<T *>(d.y),
                      d.rstd, rows, d.eps);
    };
    return d.width <= kShortRow
        ? packs ? run(forward_kernel<T, 8, kWarp>, grid<kWarp>(d.rows)) : run(forward_kernel<T, 1, kWarp>, grid<kWarp>(d.rows))
        : packs ? run(forward_kernel<T, 8, kThreads>, grid<kThreads>(d.rows)) : run(forward_kernel<T, 1, kThreads>, grid<kThreads>(d.rows));
}

template <class T> cudaError_t rmsnorm_backward(const ml_rmsnorm_desc &d, cudaStream_t stream) {
    if (d.rows == 0) return cudaSuccess;
    auto run = [&](auto kernel, Grid blocks) {
        return launch(kernel, blocks, dim3(kThreads), 0, stream, static_cast<const T *>(d.x), d.weight,
                      static_cast<const float *>(d.rstd), static_cast<const T *>(d.dy), static_cast<T *>(d.dx), Rows(d),
                      d.accumulate != 0);
    };
    const bool packs = packable<8>(d.width | d.x_stride | d.dy_stride | d.out_stride, d.x, d.weight, d.dy, d.dx);
    if (d.width <= kShortRow) {
        return packs ? run(backward_kernel<T, 8, kWarp>, grid<kWarp>(d.rows)) : run(backward_kernel<T, 1, kWarp>, grid<kWarp>(d.rows));
    }
    return packs ? run(backward_kernel<T, 8, kThreads>, grid<kThreads>(d.rows))
                 : run(backward_kernel<T, 1, kThreads>, grid<kThreads>(d.rows));
}

template cudaError_t rmsnorm_forward<float>(const ml_rmsnorm_desc &, cudaStream_t);
template cudaError_t rmsnorm_forward<bf16>(const ml_rmsnorm_desc &, cudaStream_t);
template cudaError_t rmsnorm_backward<float>(const ml_rmsnorm_desc &, cudaStream_t);
template cudaError_t rmsnorm_backward<bf16>(const ml_rmsnorm_desc &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
