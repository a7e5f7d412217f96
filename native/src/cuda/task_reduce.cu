// Cross-task reduction: the weighted sum of the tasks' gradients and their Gram matrix. Up to kMostTile tasks both come
// from one pass over the gradients; more tasks take the Gram matrix tile by tile, and the sum in a pass of its own.
//
// Products and sums are double, in which a product of floats is exact: what a pass over memory leaves time for (8 tasks: 36
// products and 8 conversions in 36 bytes, under a third of the rates of an H200's multiprocessor at full bandwidth).
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;       // of the weighted sum and the totals
constexpr int kGramThreads = 64;
constexpr int kEach = 4;            // elements a thread takes at a time
constexpr int kStep = kGramThreads * kEach;
constexpr int kMostTile = 8;
constexpr int64_t kParts = 2048;    // blocks that share the elements, several to a place: the last ones leave few idle
constexpr int64_t kPart = 2048;     // elements that are worth a block

// Elements of a part, whole steps. Of the count alone, so that the sums' bits are.
__host__ __device__ inline int64_t part_of(int64_t count) {
    const int64_t part = blocks_for(blocks_for(count, kParts), kStep) * kStep;
    return part < kPart ? kPart : part;
}

int64_t parts_of(int64_t count) { return count == 0 ? 1 : blocks_for(count, part_of(count)); }

__host__ __device__ constexpr int64_t triangle(int64_t i, int64_t j) { return i * (i + 1) / 2 + j; }

// Where the sums of a cell lie, part after part: tiles of kTile x kTile cells, the lower triangle of them.
template <int kTile> __host__ __device__ inline int64_t cell_at(int64_t row, int64_t column, int64_t cell) {
    return triangle(row, column) * kTile * kTile + cell;
}

// The thread's elements of a tile's tasks. What is no task's, or lies behind the end of packs, stays as it was.
template <bool kPacks, int kTile>
__device__ inline void fetch(float (&to)[kTile][kEach], const float *from, int64_t stride, int64_t tasks, int64_t left) {
    ML_UNROLL
    for (int i = 0; i < kTile; i++) {
        if constexpr (kPacks) {
            if (i < tasks && left > 0) load<kEach>(to[i], from + i * stride);
        } else {
            ML_UNROLL
            for (int e = 0; e < kEach; e++) to[i][e] = i < tasks && e < left ? from[i * stride + e] : 0;
        }
    }
}

// A block's sums, to partial[cell][part].
template <int kCells> __device__ inline void put(const double (&sums)[kCells], double *partial, int64_t part, int64_t parts) {
    constexpr int kWarps = kGramThreads / kWarp;
    static_assert(kCells <= kGramThreads, "a thread a cell");
    ML_SHARED_ARRAY(double, of_warp, kWarps * kCells);
    ML_UNROLL
    for (int cell = 0; cell < kCells; cell++) {
        const double sum = warp_sum(sums[cell]);
        if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp * kCells + cell] = sum;
    }
    __syncthreads();
    if (threadIdx.x >= kCells) return;
    double total = 0;
    for (int warp = 0; warp < kWarps; warp++) total += of_warp[warp * kCells + threadIdx.x];
    partial[threadIdx.x * parts + part] = total;
}

// Tile blockIdx.y of the Gram matrix's diagonal over part blockIdx.x of the elements. With kSum, of one tile only, the
// weighted sum too. The loads of a step stand before the store of the one before, which may be to slot 0 and which none would
// pass. A multiprocessor then waits for up to 40 KiB at a time with 4 tasks, 48 with 8; it takes some 20 to keep the memory busy.
template <int kTile, bool kSum, bool kPacks>
__global__ void __launch_bounds__(kGramThreads, kTile == 4 ? 10 : 6) gram_kernel(ml_task_reduce_desc d, double *partial) {
    const int64_t first = blockIdx.y * kTile, tasks = d.slots - first, part = part_of(d.count);
    const int64_t begin = blockIdx.x * part, end = begin + part < d.count ? begin + part : d.count;
    const float *from = d.grad + first * d.stride;
    float weight[kTile], next[kTile][kEach];
    double sums[triangle(kTile, 0)];
    ML_UNROLL
    for (int i = 0; i < kTile; i++) {
        weight[i] = kSum && i < tasks ? d.weight[i] : 0;
        ML_UNROLL
        for (int e = 0; e < kEach; e++) next[i][e] = 0;
        ML_UNROLL
        for (int j = 0; j <= i; j++) sums[triangle(i, j)] = 0;
    }
    int64_t at = begin + threadIdx.x * kEach;
    fetch<kPacks>(next, from + at, d.stride, tasks, end - at);
    for (; at < end; at += kStep) {
        float a[kTile][kEach], total[kEach];
        ML_UNROLL
        for (int i = 0; i < kTile; i++) {
            ML_UNROLL
            for (int e = 0; e < kEach; e++) a[i][e] = next[i][e];
        }
        fetch<kPacks>(next, from + at + kStep, d.stride, tasks, end - at - kStep);
        ML_UNROLL
        for (int e = 0; e < kEach; e++) {
            total[e] = 0;
            ML_UNROLL
            for (int i = 0; i < kTile; i++) {
                ML_UNROLL
                for (int j = 0; j <= i; j++) sums[triangle(i, j)] += static_cast<double>(a[i][e]) * a[j][e];
                total[e] += weight[i] * a[i][e];
            }
        }
        if constexpr (kSum && kPacks) {
            store<kEach>(d.out + at, total);
        } else if constexpr (kSum) {
            ML_UNROLL
            for (int e = 0; e < kEach; e++) {
                if (at + e < end) d.out[at + e] = total[e];
            }
        }
    }
    put(sums, partial + cell_at<kTile>(blockIdx.y, blockIdx.y, 0) * gridDim.x, blockIdx.x, gridDim.x);
}

// Half the columns of a tile below the diagonal, of row blockIdx.y + 1 and column blockIdx.x / 2, over part blockIdx.z: the
// tiles of a part follow one another, so that its gradients are read again from the cache.
template <bool kPacks> __global__ void __launch_bounds__(kGramThreads, 6) cross_kernel(ml_task_reduce_desc d, double *partial) {
    constexpr int kRows = kMostTile, kColumns = kMostTile / 2;
    const int64_t row = blockIdx.y + 1, column = blockIdx.x / 2, half = blockIdx.x % 2, part = part_of(d.count);
    if (column >= row) return;
    const int64_t begin = blockIdx.z * part, end = begin + part < d.count ? begin + part : d.count;
    const float *left = d.grad + row * kMostTile * d.stride, *right = d.grad + (column * kMostTile + half * kColumns) * d.stride;
    float a[kRows][kEach], b[kColumns][kEach];
    double sums[kRows * kColumns];
    ML_UNROLL
    for (int i = 0; i < kRows; i++) {
        ML_UNROLL
        for (int e = 0; e < kEach; e++) a[i][e] = 0;
        ML_UNROLL
        for (int j = 0; j < kColumns; j++) sums[i * kColumns + j] = 0;
    }
    for (int64_t at = begin + threadIdx.x * kEach; at < end; at += kStep) {
        fetch<kPacks>(a, left + at, d.stride, d.slots - row * kMostTile, end - at);
        fetch<kPacks>(b, right + at, d.stride, kColumns, end - at);
        ML_UNROLL
        for (int e = 0; e < kEach; e++) {
            ML_UNROLL
            for (int i = 0; i < kRows; i++) {
                ML_UNROLL
                for (int j = 0; j < kColumns; j++) sums[i * kColumns + j] += static_cast<double>(a[i][e]) * b[j][e];
            }
        }
    }
    put(sums, partial + cell_at<kMostTile>(row, column, half * kRows * kColumns) * gridDim.z, blockIdx.z, gridDim.z);
}

// Task blockIdx.x with tasks blockIdx.y, blockIdx.y + gridDim.y, ... up to itself.
template <int kTile> __global__ void gram_total_kernel(const double *partial, double *gram, int64_t slots, int64_t parts) {
    constexpr int kHalf = kTile / 2;
    const int64_t i = blockIdx.x, row = i / kTile, down = i % kTile;
    for (int64_t j = blockIdx.y; j <= i; j += gridDim.y) {
        const int64_t column = j / kTile, along = j % kTile;
        const int64_t cell = row == column ? triangle(down, along) : (along / kHalf * kTile + down) * kHalf + along % kHalf;
        const double *from = partial + cell_at<kTile>(row, column, cell) * parts;
        double sum = 0;
        for (int64_t part = threadIdx.x; part < parts; part += kThreads) sum += from[part];
        sum = block_sum<kThreads>(sum);
        if (threadIdx.x == 0) gram[i * slots + j] = gram[j * slots + i] = sum;
    }
}

template <int N> __global__ void weighted_sum_kernel(ml_task_reduce_desc d) {
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (at >= d.count) return;
    float total[N];
    for (int j = 0; j < N; j++) total[j] = 0;
    for (int64_t slot = 0; slot < d.slots; slot++) {
        float g[N];
        load<N>(g, d.grad + slot * d.stride + at);
        for (int j = 0; j < N; j++) total[j] += d.weight[slot] * g[j];
    }
    store<N>(d.out + at, total);
}

cudaError_t weighted_sum(const ml_task_reduce_desc &d, cudaStream_t stream) {
    if (d.count == 0) return cudaSuccess;
    auto blocks = [&](int n) { return Grid(blocks_for(d.count, kThreads * n)); };
    return packable<4>(d.count | d.stride, d.grad, d.out) ? launch(weighted_sum_kernel<4>, blocks(4), dim3(kThreads), 0, stream, d)
                                                          : launch(weighted_sum_kernel<1>, blocks(1), dim3(kThreads), 0, stream, d);
}

int tile_of(int64_t slots) { return slots <= 4 ? 4 : kMostTile; }

template <int kTile, bool kPacks> cudaError_t reduce(const ml_task_reduce_desc &d, double *scratch, cudaStream_t stream) {
    const int64_t parts = parts_of(d.count), tiles = blocks_for(d.slots, kTile);
    const bool together = d.out != nullptr && tiles == 1;
    const Grid diagonal(parts, tiles), below(2 * (tiles - 1), tiles - 1, parts), pairs(d.slots, kTile);
    cudaError_t error = together ? launch(gram_kernel<kTile, true, kPacks>, diagonal, dim3(kGramThreads), 0, stream, d, scratch)
                                 : launch(gram_kernel<kTile, false, kPacks>, diagonal, dim3(kGramThreads), 0, stream, d, scratch);
    if (error != cudaSuccess) return error;
    if (tiles > 1) error = launch(cross_kernel<kPacks>, below, dim3(kGramThreads), 0, stream, d, scratch);
    if (error != cudaSuccess) return error;
    error = launch(gram_total_kernel<kTile>, pairs, dim3(kThreads), 0, stream, scratch, d.gram, d.slots, parts);
    if (error != cudaSuccess || d.out == nullptr || together) return error;
    return weighted_sum(d, stream);
}

template <int kTile> cudaError_t reduce(const ml_task_reduce_desc &d, double *scratch, cudaStream_t stream) {
    return packable<kEach>(d.count | d.stride, d.grad, d.out) ? reduce<kTile, true>(d, scratch, stream)
                                                              : reduce<kTile, false>(d, scratch, stream);
}

}  // namespace

int64_t task_reduce_scratch(const ml_task_reduce_desc &d) {
    if (d.gram == nullptr || d.slots == 0) return 0;
    const int64_t tile = tile_of(d.slots), tiles = blocks_for(d.slots, tile);
    return parts_of(d.count) * tiles * (tiles + 1) / 2 * tile * tile;
}

cudaError_t task_reduce(const ml_task_reduce_desc &d, double *scratch, cudaStream_t stream) {
    if (d.slots == 0 || d.gram == nullptr) return d.out == nullptr ? cudaSuccess : weighted_sum(d, stream);
    return tile_of(d.slots) == 4 ? reduce<4>(d, scratch, stream) : reduce<kMostTile>(d, scratch, stream);
}

}  // namespace cuda
}  // namespace metalora
