// The product on tensor cores: bf16 in, float accumulators. Tiles of both operands come through a ring of stages in shared
// memory, loaded asynchronously ahead of their use; an adapter's low-rank term is a K-tail: more tiles of the same ring, so that
// the result is stored once. Rows of a tile that are not of the term's slot load as zeros.
#include "cuda/product.h"

namespace metalora {
namespace cuda {

namespace {

// kRows x kColumns of the result a block, kDepth of k a stage, kDown x kAcross warps. kLeftAlongK: the left operand's rows are
// contiguous along k, else along m; kRightAlongK likewise.
template <int kRows_, int kColumns_, int kDepth_, int kDown_, int kAcross_, int kStages_, bool kLeftAlongK_, bool kRightAlongK_>
struct Shape {
    static constexpr int kRows = kRows_, kColumns = kColumns_, kDepth = kDepth_, kDown = kDown_, kAcross = kAcross_, kStages = kStages_;
    static constexpr bool kLeftAlongK = kLeftAlongK_, kRightAlongK = kRightAlongK_;
    static constexpr int kThreads = kDown * kAcross * kWarp;
    static constexpr int kBlocks = 512 / kThreads;  // that have to fit a multiprocessor's registers together
    static constexpr int kWarpRows = kRows / kDown, kWarpColumns = kColumns / kAcross;
    static constexpr int kM = kWarpRows / 16, kN = kWarpColumns / 8;
    static_assert(kWarpRows % 16 == 0 && kWarpColumns % 16 == 0 && kDepth % 16 == 0, "whole fragments");
    // 16 bytes behind each line, so that the eight rows of a fragment lie in different banks.
    static constexpr int kPad = 8;
    static constexpr int kLeftLine = (kLeftAlongK ? kDepth : kRows) + kPad, kLeftLines = kLeftAlongK ? kRows : kDepth;
    static constexpr int kRightLine = (kRightAlongK ? kDepth : kColumns) + kPad, kRightLines = kRightAlongK ? kColumns : kDepth;
    static constexpr int kStage = kLeftLine * kLeftLines + kRightLine * kRightLines;  // bf16
    static constexpr int kOutLine = kColumns + 8;                                     // floats of the result's tile
    static constexpr int kRing = kStages * kStage * 2, kOut = kRows * kOutLine * 4;
    static constexpr int kShared = kRing > kOut ? kRing : kOut;
};

// The tiles a block goes through: factor by factor, within a factor slot by slot.
struct Cursor {
    int factor;
    int64_t slot, k, end;         // k in [.., end)
    int64_t first, last;          // rows that take part
};

template <class S> struct Walk {
    const Product &p;
    int64_t row0;

    __device__ Cursor start() const {
        if (p.part > 0) {
            const Part tokens = part_of(p, blockIdx.z);
            return {0, tokens.slot, tokens.begin, tokens.end, 0, p.m};
        }
        return enter(0, 0);
    }
    // The first tile from there on.
    __device__ Cursor enter(int factor, int64_t slot) const {
        for (; factor < p.factors; factor++, slot = 0) {
            const Factor &f = p.factor[factor];
            if (!f.by_slot) {
                if (slot == 0 && f.k > 0) return {factor, 0, 0, f.k, 0, p.m};
                continue;
            }
            for (; slot < p.slots; slot++) {
                const Segment rows = segment_of(p.slot_offsets, slot, p.tokens);
                if (rows.begin < rows.end && rows.begin < row0 + S::kRows && rows.end > row0) {
                    return {factor, slot, 0, f.k, rows.begin, rows.end};
                }
            }
        }
        return {p.factors, 0, 0, 0, 0, 0};
    }
    __device__ bool valid(const Cursor &c) const { return c.factor < p.factors && c.k < c.end; }
    __device__ void advance(Cursor &c) const {
        c.k += S::kDepth;
        if (c.k < c.end) return;
        if (p.part > 0) c.factor = p.factors;
        else c = enter(c.factor, c.slot + 1);
    }
};

// One operand's tile: lines of kWidth elements. Along k: line = row, else line = k. A thread has the same columns of every
// kStep-th line.
template <bool kAlongK, int kLines, int kWidth, int kLine, int kThreads>
__device__ inline void load_tile(bf16 *tile, const Matrix &x, int64_t slot, int64_t row0, int64_t rows, int64_t first, int64_t last,
                                 int64_t k0, int64_t k1) {
    constexpr int kChunks = kWidth / 8, kStep = kThreads / kChunks;
    static_assert(kThreads % kChunks == 0, "a thread's columns are the same in each line");
    const int line = static_cast<int>(threadIdx.x) / kChunks, at = static_cast<int>(threadIdx.x) % kChunks * 8;
    // Lines [begin, end) of the tile have something, and so have the columns of this thread or they have not.
    int begin = 0, end;
    bool columns;
    auto within = [](int64_t n, int most) { return n < 0 ? 0 : n < most ? static_cast<int>(n) : most; };
    if constexpr (kAlongK) {
        begin = within(first - row0, kLines), end = within((last < rows ? last : rows) - row0, kLines);
        columns = k0 + at < k1;
    } else {
        end = within(k1 - k0, kLines);
        columns = row0 + at < rows;
    }
    if (!columns) end = 0;
    const int64_t stride = kAlongK ? x.row_stride : x.k_stride;
    const auto *nothing = static_cast<const bf16 *>(x.data);
    const bf16 *from = nothing + slot * x.slot + row0 * x.row_stride + k0 * x.k_stride + line * stride + at;
    bf16 *to = tile + line * kLine + at;
    ML_UNROLL
    for (int i = 0; i < (kLines + kStep - 1) / kStep; i++) {
        if (kLines % kStep != 0 && line + i * kStep >= kLines) break;
        const bool valid = line + i * kStep >= begin && line + i * kStep < end;
        cp_async_16(to + i * kStep * kLine, valid ? from + i * kStep * stride : nothing, valid);
    }
}

// Neighbouring blocks take kGroup row tiles of one column tile before the next column tile, so that both operands' tiles are
// still in the second-level cache when they are read again.
constexpr unsigned kGroup = 8;

__device__ inline uint2 tile_of_block(int64_t m, int tile_rows) {
    const auto down = static_cast<unsigned>(blocks_for(m, tile_rows));
    const unsigned in_group = kGroup * (gridDim.x / down), first = blockIdx.x / in_group * kGroup;
    const unsigned rows = down - first < kGroup ? down - first : kGroup;
    return {first + blockIdx.x % in_group % rows, blockIdx.x % in_group / rows};
}

template <class S> __global__ void __launch_bounds__(S::kThreads, S::kBlocks) product_kernel(const __grid_constant__ Product p) {
    ML_DYNAMIC_SHARED(unsigned char, shared);
    auto *ring = reinterpret_cast<bf16 *>(shared);
    const uint2 tile_at = tile_of_block(p.m, S::kRows);
    const int64_t row0 = static_cast<int64_t>(tile_at.x) * S::kRows, column0 = static_cast<int64_t>(tile_at.y) * S::kColumns;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int warp_row = warp / S::kAcross * S::kWarpRows, warp_column = warp % S::kAcross * S::kWarpColumns;
    const Walk<S> walk{p, row0};
    Cursor next = walk.start();
    if (p.part > 0 && !walk.valid(next)) return;
    if (p.part == 0) check_slot_offsets(p.slot_offsets, p.slots, p.tokens, p.fault);

    auto fetch = [&](int stage) {
        if (walk.valid(next)) {
            const Factor &f = p.factor[next.factor];
            bf16 *left = ring + stage * S::kStage, *right = left + S::kLeftLine * S::kLeftLines;
            load_tile<S::kLeftAlongK, S::kLeftLines, S::kLeftLine - S::kPad, S::kLeftLine, S::kThreads>(
                left, f.left, next.slot, row0, p.m, next.first, next.last, next.k, next.end);
            load_tile<S::kRightAlongK, S::kRightLines, S::kRightLine - S::kPad, S::kRightLine, S::kThreads>(
                right, f.right, next.slot, column0, p.n, 0, p.n, next.k, next.end);
            walk.advance(next);
        }
        cp_async_commit();  // also an empty group, so that their number says how far the ring is
    };

    float sum[S::kM][S::kN][4];
    ML_UNROLL
    for (int i = 0; i < S::kM; i++) {
        ML_UNROLL
        for (int j = 0; j < S::kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) sum[i][j][e] = 0;
        }
    }
    Cursor now = next;
    ML_UNROLL
    for (int stage = 0; stage < S::kStages - 1; stage++) fetch(stage);
    for (int stage = 0; walk.valid(now); walk.advance(now), stage = stage + 1 == S::kStages ? 0 : stage + 1) {
        cp_async_wait<S::kStages - 2>();
        __syncthreads();  // the stage is there for all, and all are done with the one before it
        fetch(stage == 0 ? S::kStages - 1 : stage - 1);
        const bf16 *left = ring + stage * S::kStage, *right = left + S::kLeftLine * S::kLeftLines;
        ML_UNROLL
        for (int k = 0; k < S::kDepth; k += 16) {
            uint32_t a[S::kM][4], b[S::kN][2];
            ML_UNROLL
            for (int i = 0; i < S::kM; i++) {
                const int row = warp_row + i * 16;
                if constexpr (S::kLeftAlongK) {
                    ldmatrix_x4(a[i], left + (row + lane % 16) * S::kLeftLine + k + lane / 16 * 8);
                } else {
                    ldmatrix_x4_trans(a[i], left + (k + lane % 8 + lane / 16 * 8) * S::kLeftLine + row + lane / 8 % 2 * 8);
                }
            }
            ML_UNROLL
            for (int j = 0; j < S::kN; j += 2) {
                const int column = warp_column + j * 8;
                uint32_t both[4];
                if constexpr (S::kRightAlongK) {
                    ldmatrix_x4(both, right + (column + lane % 8 + lane / 16 * 8) * S::kRightLine + k + lane / 8 % 2 * 8);
                } else {
                    ldmatrix_x4_trans(both, right + (k + lane % 16) * S::kRightLine + column + lane / 16 * 8);
                }
                b[j][0] = both[0], b[j][1] = both[1], b[j + 1][0] = both[2], b[j + 1][1] = both[3];
            }
            mma_m16n8k16(sum, a, b);
        }
    }

    // Through shared memory, so that rows are stored in whole packs.
    cp_async_wait<0>();
    __syncthreads();
    auto *tile = reinterpret_cast<float *>(shared);
    ML_UNROLL
    for (int i = 0; i < S::kM; i++) {
        ML_UNROLL
        for (int j = 0; j < S::kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int row = warp_row + i * 16 + lane / 4 + e / 2 * 8, column = warp_column + j * 8 + lane % 4 * 2 + e % 2;
                tile[row * S::kOutLine + column] = sum[i][j][e];
            }
        }
    }
    __syncthreads();
    void *out = out_of(p);
    const bool aligned = p.out_stride % 8 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0 && reinterpret_cast<uintptr_t>(p.residual) % 16 == 0;
    const int64_t columns = columns_of(p);
    constexpr int kPacks = S::kColumns / 8;
    for (int e = threadIdx.x; e < S::kRows * kPacks; e += S::kThreads) {
        const int line = e / kPacks, at = e % kPacks * 8;
        const int64_t row = row0 + line, column = column0 + at;
        if (row >= p.m || column >= columns) continue;
        float v[8];
        for (int j = 0; j < 8; j++) v[j] = tile[line * S::kOutLine + at + j];
        finish<8>(p, out, row, column, v, aligned && column + 8 <= p.n);
    }
}

template <class S> struct Run {
    static cudaError_t of(const Product &p, cudaStream_t stream) {
        const Grid grid(blocks_for(p.m, S::kRows) * blocks_for(columns_of(p), S::kColumns), 1, p.part > 0 ? parts_of(p) : 1);
        return launch(product_kernel<S>, grid, dim3(S::kThreads), S::kShared, stream, p);
    }
};

template <class S> struct Tiles {
    static int64_t of(int64_t m, int64_t n) { return blocks_for(m, S::kRows) * blocks_for(n, S::kColumns); }
};

// Do<the shape for a result [m, n]>::of(arguments)
template <template <class> class Do, bool kLeft, bool kRight, class... Arguments> auto choose(int64_t m, int64_t n, const Arguments &...arguments) {
    if (m <= 16) return Do<Shape<16, 128, 32, 1, 4, 4, kLeft, kRight>>::of(arguments...);
    if (n <= 16) return Do<Shape<64, 16, 64, 4, 1, 4, kLeft, kRight>>::of(arguments...);
    if (n <= 64 || m <= 64) return Do<Shape<64, 64, 64, 4, 1, 3, kLeft, kRight>>::of(arguments...);
    return Do<Shape<128, 128, 32, 2, 4, 4, kLeft, kRight>>::of(arguments...);
}

bool fits(const Matrix &x) {
    if (x.dtype != ML_BF16 || reinterpret_cast<uintptr_t>(x.data) % 16 != 0 || x.slot % 8 != 0) return false;
    return (x.k_stride == 1 && x.row_stride % 8 == 0) || (x.row_stride == 1 && x.k_stride % 8 == 0);
}

}  // namespace

bool fits_tensor_cores(const Product &p) {
    for (int f = 0; f < p.factors; f++) {
        const Factor &factor = p.factor[f];
        if (!fits(factor.left) || !fits(factor.right) || factor.scale != 1) return false;
        // One kernel walks all factors, and rows are masked by slot along k alone.
        if ((factor.left.k_stride == 1) != (p.factor[0].left.k_stride == 1)) return false;
        if ((factor.right.k_stride == 1) != (p.factor[0].right.k_stride == 1)) return false;
        if (factor.by_slot && factor.left.k_stride != 1) return false;
        if (p.part > 0 && (factor.left.k_stride == 1 || factor.right.k_stride == 1)) return false;  // parts begin anywhere
    }
    return true;
}

cudaError_t product_tensor(const Product &p, cudaStream_t stream) {
    if (p.m == 0 || p.n == 0) return cudaSuccess;
    const bool left = p.factor[0].left.k_stride == 1, right = p.factor[0].right.k_stride == 1;
    if (left) return right ? choose<Run, true, true>(p.m, p.n, p, stream) : choose<Run, true, false>(p.m, p.n, p, stream);
    return right ? choose<Run, false, true>(p.m, p.n, p, stream) : choose<Run, false, false>(p.m, p.n, p, stream);
}

int64_t tiles_of(bool tensor, int64_t m, int64_t n) {
    if (!tensor) return tiles_of_simt(m, n);
    return choose<Tiles, false, false>(m, n, m, n);  // parts are summed along the operands' other dimension
}

cudaError_t product(const Product &p, cudaStream_t stream) {
    return fits_tensor_cores(p) ? product_tensor(p, stream) : product_simt(p, stream);
}

}  // namespace cuda
}  // namespace metalora
