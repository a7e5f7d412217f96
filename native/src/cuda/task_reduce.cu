// Cross-task reduction: the weighted sum of the tasks' gradients and their Gram matrix. Up to kMostTile tasks both come
// from one pass over the gradients; more tasks take the Gram matrix tile by tile, and the sum in a pass of its own.
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kMostTile = 8;
constexpr int64_t kParts = 512;     // blocks that share the elements; fixed, so that the sum's bits are
constexpr int64_t kPart = 8192;     // elements that are worth a block

int64_t parts_of(int64_t count) {
    const int64_t parts = blocks_for(count, kPart);
    return parts < 1 ? 1 : parts < kParts ? parts : kParts;
}

// The tile of the Gram matrix with rows of tile blockIdx.y, columns of tile blockIdx.z <= blockIdx.y, over one part of the
// elements: partial[tile][part][i][j]. With kSum, of one tile only, the weighted sum too.
template <int kTile, bool kSum>
__global__ void gram_kernel(ml_task_reduce_desc d, double *partial) {
    if (blockIdx.z > blockIdx.y) return;
    const int first_i = blockIdx.y * kTile, first_j = blockIdx.z * kTile;
    const bool diagonal = first_i == first_j;
    const int64_t each = (d.count + gridDim.x - 1) / gridDim.x;
    const int64_t begin = blockIdx.x * each, end = begin + each < d.count ? begin + each : d.count;
    float weight[kTile];
    for (int i = 0; i < kTile; i++) weight[i] = kSum && i < d.slots ? d.weight[i] : 0;
    double sums[kTile][kTile];
    ML_UNROLL
    for (int i = 0; i < kTile; i++) {
        ML_UNROLL
        for (int j = 0; j < kTile; j++) sums[i][j] = 0;
    }
    for (int64_t at = begin + threadIdx.x; at < end; at += kThreads) {
        float a[kTile], b[kTile];
        ML_UNROLL
        for (int i = 0; i < kTile; i++) a[i] = first_i + i < d.slots ? d.grad[(first_i + i) * d.stride + at] : 0;
        ML_UNROLL
        for (int j = 0; j < kTile; j++) {
            b[j] = diagonal ? a[j] : first_j + j < d.slots ? d.grad[(first_j + j) * d.stride + at] : 0;
        }
        ML_UNROLL
        for (int i = 0; i < kTile; i++) {
            ML_UNROLL
            for (int j = 0; j < kTile; j++) sums[i][j] += static_cast<double>(a[i]) * b[j];
        }
        if constexpr (kSum) {
            float total = 0;
            ML_UNROLL
            for (int i = 0; i < kTile; i++) total += weight[i] * a[i];
            d.out[at] = total;  // may be the element of slot 0 just read
        }
    }
    const int64_t tile = static_cast<int64_t>(blockIdx.y) * gridDim.z + blockIdx.z;
    ML_UNROLL
    for (int i = 0; i < kTile; i++) {
        ML_UNROLL
        for (int j = 0; j < kTile; j++) {
            const double total = block_sum<kThreads>(sums[i][j]);
            if (threadIdx.x == 0) partial[((tile * gridDim.x + blockIdx.x) * kTile + i) * kTile + j] = total;
        }
    }
}

// A warp a pair of tasks.
template <int kTile> __global__ void gram_total_kernel(const double *partial, double *gram, int64_t slots, int64_t parts, int64_t tiles) {
    const int64_t i = blockIdx.x, j = blockIdx.y;
    if (j > i) return;
    const int64_t tile = i / kTile * tiles + j / kTile, cell = i % kTile * kTile + j % kTile;
    double sum = 0;
    for (int64_t part = threadIdx.x; part < parts; part += kWarp) sum += partial[(tile * parts + part) * kTile * kTile + cell];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) gram[i * slots + j] = gram[j * slots + i] = sum;
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

template <int kTile> cudaError_t reduce(const ml_task_reduce_desc &d, double *scratch, cudaStream_t stream) {
    const int64_t parts = parts_of(d.count), tiles = (d.slots + kTile - 1) / kTile;
    const Grid cover(parts, tiles, tiles);
    const bool together = d.out != nullptr && tiles == 1;
    cudaError_t error = together ? launch(gram_kernel<kTile, true>, cover, dim3(kThreads), 0, stream, d, scratch)
                                 : launch(gram_kernel<kTile, false>, cover, dim3(kThreads), 0, stream, d, scratch);
    if (error != cudaSuccess) return error;
    const Grid pairs(d.slots, d.slots);
    error = launch(gram_total_kernel<kTile>, pairs, dim3(kWarp), 0, stream, scratch, d.gram, d.slots, parts, tiles);
    if (error != cudaSuccess || d.out == nullptr || together) return error;
    return weighted_sum(d, stream);
}

}  // namespace

int64_t task_reduce_scratch(const ml_task_reduce_desc &d) {
    if (d.gram == nullptr || d.slots == 0) return 0;
    const int64_t tile = tile_of(d.slots), tiles = (d.slots + tile - 1) / tile;
    return parts_of(d.count) * tiles * tiles * tile * tile;
}

cudaError_t task_reduce(const ml_task_reduce_desc &d, double *scratch, cudaStream_t stream) {
    if (d.slots == 0 || d.gram == nullptr) return d.out == nullptr ? cudaSuccess : weighted_sum(d, stream);
    return tile_of(d.slots) == 4 ? reduce<4>(d, scratch, stream) : reduce<kMostTile>(d, scratch, stream);
}

}  // namespace cuda
}  // namespace metalora
