// The product in float, for any types, strides and alignments: 64 x 64 of the result a block, 4 x 4 a thread.
#include "cuda/product.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kTile = 64, kDepth = 16, kThreads = 256;
constexpr int kRun = 512;  // of k that is summed on its own: the error then grows with far fewer additions

using Line = float[kTile + 4];

__device__ inline float element(const Matrix &x, int64_t at) {
    return x.dtype == ML_BF16 ? to_float(static_cast<const bf16 *>(x.data)[at]) : static_cast<const float *>(x.data)[at];
}

// tile[k][i] = x[row0 + i, k0 + k] for rows in [first, last) and k below k1, else 0.
__device__ inline void fill_tile(Line *tile, const Matrix &x, float scale, int64_t base, int64_t row0, int64_t first, int64_t last,
                                 int64_t k0, int64_t k1) {
    const bool along_k = x.k_stride == 1;  // neighbouring threads read neighbouring elements
    for (int e = threadIdx.x; e < kTile * kDepth; e += kThreads) {
        const int i = along_k ? e / kDepth : e % kTile, k = along_k ? e % kDepth : e / kTile;
        const int64_t row = row0 + i, at = k0 + k;
        tile[k][i] = row >= first && row < last && at < k1 ? scale * element(x, base + row * x.row_stride + at * x.k_stride) : 0.0f;
    }
}

__global__ void product_kernel(const __grid_constant__ Product p) {
    ML_SHARED_ARRAY(Line, left, kDepth);
    ML_SHARED_ARRAY(Line, right, kDepth);
    const int64_t down_tiles = blocks_for(p.m, kTile);
    const int64_t row0 = blockIdx.x % down_tiles * kTile, column0 = blockIdx.x / down_tiles * kTile;
    const int across = threadIdx.x % 16, down = threadIdx.x / 16;
    float sum[4][4], total[4][4];
    ML_UNROLL
    for (int i = 0; i < 4; i++) {
        ML_UNROLL
        for (int j = 0; j < 4; j++) sum[i][j] = total[i][j] = 0;
    }
    auto fold = [&] {
        ML_UNROLL
        for (int i = 0; i < 4; i++) {
            ML_UNROLL
            for (int j = 0; j < 4; j++) total[i][j] += sum[i][j], sum[i][j] = 0;
        }
    };
    auto accumulate = [&](const Factor &f, int64_t slot, int64_t first, int64_t last, int64_t begin, int64_t end) {
        for (int64_t k0 = begin; k0 < end; k0 += kDepth) {
            __syncthreads();  // the tiles before have been read
            fill_tile(left, f.left, 1, slot * f.left.slot, row0, first, last, k0, end);
            fill_tile(right, f.right, f.scale, slot * f.right.slot, column0, 0, p.n, k0, end);
            __syncthreads();
            for (int k = 0; k < kDepth; k++) {
                float a[4], b[4];
                for (int i = 0; i < 4; i++) a[i] = left[k][down * 4 + i];
                for (int j = 0; j < 4; j++) b[j] = right[k][across * 4 + j];
                for (int i = 0; i < 4; i++) {
                    for (int j = 0; j < 4; j++) sum[i][j] += a[i] * b[j];
                }
            }
            if ((k0 - begin) % kRun == kRun - kDepth) fold();
        }
    };
    if (p.part > 0) {
        const Part tokens = part_of(p, blockIdx.z);
        if (tokens.begin == tokens.end) return;
        accumulate(p.factor[0], tokens.slot, 0, p.m, tokens.begin, tokens.end);
    } else {
        check_slot_offsets(p.slot_offsets, p.slots, p.tokens, p.fault);
        for (int f = 0; f < p.factors; f++) {
            const Factor &factor = p.factor[f];
            if (!factor.by_slot) {
                accumulate(factor, 0, 0, p.m, 0, factor.k);
                continue;
            }
            for (int64_t slot = 0; slot < p.slots; slot++) {
                const Segment rows = segment_of(p.slot_offsets, slot, p.tokens);
                if (rows.begin < row0 + kTile && rows.end > row0 && rows.begin < rows.end) {
                    accumulate(factor, slot, rows.begin, rows.end, 0, factor.k);
                }
            }
        }
    }
    fold();
    void *out = out_of(p);
    ML_UNROLL
    for (int i = 0; i < 4; i++) {
        const int64_t row = row0 + down * 4 + i, column = column0 + across * 4;
        if (row < p.m && column < columns_of(p)) finish<4>(p, out, row, column, total[i], false);
    }
}

}  // namespace

int64_t tiles_of_simt(int64_t m, int64_t n) { return blocks_for(m, kTile) * blocks_for(n, kTile); }

cudaError_t product_simt(const Product &p, cudaStream_t stream) {
    if (p.m == 0 || p.n == 0) return cudaSuccess;
    const Grid grid(blocks_for(p.m, kTile) * blocks_for(columns_of(p), kTile), 1, p.part > 0 ? parts_of(p) : 1);
    return launch(product_kernel, grid, dim3(kThreads), 0, stream, p);
}

}  // namespace cuda
}  // namespace metalora
