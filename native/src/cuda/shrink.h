// The shrink of a LoRA linear, h = A x, fused into the epilogue of the kernel that writes x (rmsnorm_linear.cu, swiglu_linear.cu).
#pragma once

#include <functional>

#include "cuda/product.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

// What that kernel takes of the linear. Ranks are the terms', each padded to a multiple of 8.
struct Shrink {
    Matrix a;                        // [slots][terms * padded][width]
    float *h = nullptr;              // [tokens, terms * rank]
    LowRows low;                     // h again in bf16, as the product by the weight takes it
    const int32_t *slot_offsets = nullptr;
    int64_t slots = 0, tokens = 0;
    int *fault = nullptr;
    int terms = 0, rank = 0, padded = 0;
    bool fusible = false;            // shrink_kernel can do it
};

// Ranks whose sums a warp keeps in registers.
constexpr int kMostShrunkRanks = 64;

// Whether h can be computed from x as it is written: there is a rank, and no dropout that x goes through first.
inline bool shrinks_first(const ml_lora_linear_desc &d) { return d.rank > 0 && d.dropout == 0; }

// Writes x, and h too where the kernel for that can; sets shrunk where it has.
using MakeInput = std::function<cudaError_t(const Shrink &, bool &shrunk)>;

// The forward of a linear whose x is written by make_x.
template <class T> cudaError_t lora_linear_forward(State &, const ml_lora_linear_desc &, const MakeInput &make_x);

namespace shrinking {

constexpr int kRows = 32, kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kEach = kRows / 8;  // rows of a lane: lane / 4, and those 8, 16 and 24 below
constexpr int kDepth = 32;        // elements of a row that a warp takes at a time, 8 a lane

// Elements 2 i and 2 i + 1 as a fragment has them.
__device__ inline uint32_t pair_of(const Pack<bf16> &pack, int i) {
    uint32_t pair;
    memcpy(&pair, pack.at + 2 * i, sizeof pair);
    return pair;
}

// A block makes kRows rows and multiplies them by A on tensor cores, each warp over a share of their elements. In a product the
// elements may come in any order that both operands have, so that a lane's 8 neighbouring elements, as they are loaded and stored,
// are its part of two fragments: pairs 0 and 1 of the first one, 2 and 3 of the second. Nothing passes through shared memory but the
// warps' sums, which are added in the warps' order.
//
// Rows has: rows, width, begin(row0), which all threads of the block call, and make(row0, k, packs), which gives elements k to k + 7
// of the lane's rows, zeros where there are none, and stores them.
template <int kRanks, class Rows>
__global__ void __launch_bounds__(kThreads, kRanks <= 32 ? 2 : 1) shrink_kernel(const __grid_constant__ Rows given, const __grid_constant__ Shrink p) {
    ML_DYNAMIC_SHARED(float, sums);  // [kWarps][kRows][kRanks]
    constexpr int kN = kRanks / 8;
    Rows rows = given;
    const int64_t row0 = static_cast<int64_t>(blockIdx.x) * kRows;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, ranks = p.terms * p.padded;
    check_slot_offsets(p.slot_offsets, p.slots, p.tokens, p.fault);
    rows.begin(row0);
    float sum[kN][2][1][4];
    ML_UNROLL
    for (int j = 0; j < kN; j++) {
        ML_UNROLL
        for (int i = 0; i < 2; i++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) sum[j][i][0][e] = 0;
        }
    }
    int64_t first = p.slots, last = 0;  // slots that have any of the rows
    for (int64_t slot = 0; slot < p.slots; slot++) {
        const Segment own = segment_of(p.slot_offsets, slot, p.tokens);
        if (own.begin < own.end && own.begin < row0 + kRows && own.end > row0) {
            if (first > slot) first = slot;
            last = slot + 1;
        }
    }
    for (int k0 = warp * kDepth; k0 < rows.width; k0 += kWarps * kDepth) {
        const int k = k0 + lane % 4 * 8;
        Pack<bf16> y[kEach];
        rows.make(row0, k, y);
        for (int64_t slot = first; slot < last; slot++) {
            const Segment own = segment_of(p.slot_offsets, slot, p.tokens);
            uint32_t left[2][2][4];  // [half of the elements][rows' fragment]
            ML_UNROLL
            for (int i = 0; i < kEach; i++) {
                const int64_t row = row0 + lane / 4 + i * 8;
                const bool of_slot = row >= own.begin && row < own.end;
                ML_UNROLL
                for (int half = 0; half < 2; half++) {
                    left[half][i / 2][i % 2] = of_slot ? pair_of(y[i], half * 2) : 0;
                    left[half][i / 2][i % 2 + 2] = of_slot ? pair_of(y[i], half * 2 + 1) : 0;
                }
            }
            const auto *a = static_cast<const bf16 *>(p.a.data) + slot * p.a.slot;
            ML_UNROLL
            for (int j = 0; j < kN; j++) {
                const int rank = j * 8 + lane / 4;
                const bool there = rank < ranks && k < rows.width;
                const Pack<bf16> pack = *reinterpret_cast<const Pack<bf16> *>(a + (there ? rank * p.a.row_stride + k : 0));
                ML_UNROLL
                for (int half = 0; half < 2; half++) {
                    const uint32_t right[1][2] = {{there ? pair_of(pack, half * 2) : 0, there ? pair_of(pack, half * 2 + 1) : 0}};
                    mma_m16n8k16(sum[j], left[half], right);
                }
            }
        }
    }
    ML_UNROLL
    for (int i = 0; i < 2; i++) {
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int row = i * 16 + lane / 4 + e / 2 * 8, rank = j * 8 + lane % 4 * 2 + e % 2;
                sums[(warp * kRows + row) * kRanks + rank] = sum[j][i][0][e];
            }
        }
    }
    __syncthreads();
    for (int e = threadIdx.x; e < kRows * kRanks; e += kThreads) {
        const int64_t row = row0 + e / kRanks;
        const int rank = e % kRanks, term = rank / p.padded, r = rank % p.padded;
        if (row >= rows.rows || rank >= ranks) continue;
        float total = 0;
        for (int w = 0; w < kWarps; w++) total += sums[w * kRows * kRanks + e];
        if (r < p.rank) p.h[(row * p.terms + term) * p.rank + r] = total;
        if (p.low.data != nullptr) store_low(p.low, p.slot_offsets, p.slots, p.tokens, row, rank, total);
    }
}

template <int kRanks, class Rows> cudaError_t run(State &s, const Rows &rows, const Shrink &p) {
    return launch(shrink_kernel<kRanks, Rows>, Grid(blocks_for(rows.rows, kRows)), dim3(kThreads), kWarps * kRows * kRanks * sizeof(float),
                  s.stream, rows, p);
}

}  // namespace shrinking

// Makes the rows and their h.
template <class Rows> cudaError_t make_and_shrink(State &s, const Rows &rows, const Shrink &p) {
    const int ranks = p.terms * p.padded;
    if (ranks <= 16) return shrinking::run<16>(s, rows, p);
    if (ranks <= 32) return shrinking::run<32>(s, rows, p);
    if (ranks <= 48) return shrinking::run<48>(s, rows, p);
    return shrinking::run<kMostShrunkRanks>(s, rows, p);
}

}  // namespace cuda
}  // namespace metalora
