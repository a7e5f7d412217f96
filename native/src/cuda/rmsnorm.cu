// RMSNorm (Zhang and Sennrich 2019): a warp a row where rows are short (norms per head), a block a row otherwise; with the shrink of
// the LoRA linear behind it, a block a number of rows.
#include "cuda/kernels.h"
#include "cuda/shrink.h"

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

// Rows for shrink.h. They are read twice, the second time from the second-level cache as far as that holds what all blocks read.
struct NormRows {
    const bf16 *x;
    const float *weight;
    bf16 *y;
    float *rstd;  // nullable
    int64_t rows;
    int width;
    int64_t x_stride, stride;  // stride: of y
    float eps;
    float scale[shrinking::kEach];  // of the lane's rows

    __device__ void begin(int64_t row0) {
        ML_SHARED_ARRAY(float, scales, shrinking::kRows);
        const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
        for (int i = warp; i < shrinking::kRows && row0 + i < rows; i += shrinking::kWarps) {
            float squares = 0;
            for (int k = lane * 8; k < width; k += kWarp * 8) {
                float v[8];
                load<8>(v, x + (row0 + i) * x_stride + k);
                for (int j = 0; j < 8; j++) squares += v[j] * v[j];
            }
            const float of_row = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(width) + eps);
            if (lane == 0) {
                scales[i] = of_row;
                if (rstd != nullptr) rstd[row0 + i] = of_row;
            }
        }
        __syncthreads();
        for (int i = 0; i < shrinking::kEach; i++) {
            const int row = lane / 4 + i * 8;
            scale[i] = row0 + row < rows ? scales[row] : 0.0f;
        }
    }

    __device__ void make(int64_t row0, int k, Pack<bf16> (&packs)[shrinking::kEach]) const {
        float w[8] = {};
        if (k < width) load<8>(w, weight + k);
        Pack<bf16> v[shrinking::kEach];  // all on their way before the first is stored
        const int64_t first = row0 + threadIdx.x % kWarp / 4;
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            v[i] = *reinterpret_cast<const Pack<bf16> *>(x + (there ? (first + i * 8) * x_stride + k : 0));
        }
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            ML_UNROLL
            for (int j = 0; j < 8; j++) packs[i].at[j] = to_bf16(there ? to_float(v[i].at[j]) * scale[i] * w[j] : 0.0f);
            if (there) *reinterpret_cast<Pack<bf16> *>(y + (first + i * 8) * stride + k) = packs[i];
        }
    }
};

template <int kGroup> Grid grid(int64_t rows) { return Grid(blocks_for(rows, kThreads / kGroup)); }

}  // namespace

template <class T> cudaError_t rmsnorm_forward(State &s, const ml_rmsnorm_desc &d) {
    if (d.rows == 0) return cudaSuccess;
    const Rows rows(d);
    const bool packs = packable<8>(d.width | d.x_stride | d.out_stride, d.x, d.weight, d.y);
    Shrink shrink;
    if (d.next != nullptr) {
        if (const cudaError_t error = begin_shrink<T>(s, *d.next, shrink); error != cudaSuccess) return error;
        if (packs && shrink.on_the_way) {
            return make_and_shrink(s, NormRows{static_cast<const bf16 *>(d.x), d.weight, static_cast<bf16 *>(d.y), d.rstd, d.rows,
                                               rows.width, rows.x_stride, rows.out_stride, d.eps, {}}, shrink);
        }
    }
    auto run = [&](auto kernel, Grid blocks) {
        return launch(kernel, blocks, dim3(kThreads), 0, s.stream, static_cast<const T *>(d.x), d.weight, static_cast<T *>(d.y),
                      d.rstd, rows, d.eps);
    };
    const cudaError_t error = d.width <= kShortRow
        ? packs ? run(forward_kernel<T, 8, kWarp>, grid<kWarp>(d.rows)) : run(forward_kernel<T, 1, kWarp>, grid<kWarp>(d.rows))
        : packs ? run(forward_kernel<T, 8, kThreads>, grid<kThreads>(d.rows)) : run(forward_kernel<T, 1, kThreads>, grid<kThreads>(d.rows));
    return error != cudaSuccess || d.next == nullptr ? error : shrink_rows<T>(s, *d.next, shrink);
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

template cudaError_t rmsnorm_forward<float>(State &, const ml_rmsnorm_desc &);
template cudaError_t rmsnorm_forward<bf16>(State &, const ml_rmsnorm_desc &);
template cudaError_t rmsnorm_backward<float>(const ml_rmsnorm_desc &, cudaStream_t);
template cudaError_t rmsnorm_backward<bf16>(const ml_rmsnorm_desc &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
