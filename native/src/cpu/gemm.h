// Products of activations with a frozen weight, and the micro-kernel under them.
#pragma once

#include "cpu/runtime.h"

namespace metalora {
namespace METALORA_ISA {

// One sum over `steps` products: acc[row][panel][column] += a[row * lda + step] * b[panel * panel_stride + step * kPanel + column].
struct Term {
    const float *a;
    int64_t lda;
    const float *b;
    int64_t panel_stride;  // of no account where a tile is one panel wide
    int64_t steps;
};

// A full tile: as many accumulators as the registers hold, and two vectors a row at least, so that a loaded value of
// a serves two multiply-adds; with one, loads are the bottleneck.
#if defined(__AVX512F__)
constexpr int kTileRows = 14, kTilePanels = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTilePanels = 1;
#else
constexpr int kTileRows = 2, kTilePanels = 1;
#endif
constexpr int kTileColumns = kTilePanels * kPanel;

// Panels of the tile that begins at a panel: as many as it holds, no more than there are.
static inline int tile_panels(int64_t panel, int64_t panels) {
    return panels - panel < kTilePanels ? static_cast<int>(panels - panel) : kTilePanels;
}

// c[row, 0 .. panels * kPanel) = init[row, ..) (0 when NULL) + bias (none when NULL) + all terms, for rows <= kTileRows and
// panels <= kTilePanels. c may be init. Only `width` columns of init, bias and c are touched; b is read for whole panels.
void tile(int rows, int panels, const Term *terms, int term_count, const float *init, int64_t ld_init, const float *bias,
          float *c, int64_t ldc, int width);

// The same; what the first term holds in a float's place is two bf16 numbers, whose products with those of the other factor are
// both added. In the AVX-512 kernels alone, for processors with AVX512_BF16.
void tile_of_pairs(int rows, int panels, const Term *terms, int term_count, const float *init, int64_t ld_init, const float *bias,
                   float *c, int64_t ldc, int width);

// The adapters' share of a product: c[m, :] += low[m, 0 .. rank) x panels of the slot that row m belongs to.
struct LowRank {
    const float *low;             // [rows, rank]
    const float *panels;          // [panel][slot][rank][kPanel], the scale included
    const int32_t *slot_offsets;  // [slots + 1]
    int64_t slots;
    int64_t rank;
};

// c = init + bias + a W^T, or with transposed a W, and the low-rank part. In bf16 arithmetic (cpu_rounds_to_bf16) a is rounded to
// bf16 where W is held in it; all sums and the rest are in float.
struct Gemm {
    const float *a;        // [rows, depth], depth = in features (transposed: out features)
    int64_t rows;
    const ml_weight *w;
    bool transposed;
    const float *init;     // [rows, columns]; nullable; may be c
    const float *bias;     // [columns]; nullable
    float *c;              // [rows, columns]
    const LowRank *low_rank;  // nullable
    int64_t lda = 0, ldc = 0;  // from row to row of a, and of c and init; 0: dense
};
ml_status gemm(Context &, const Gemm &);

}  // namespace METALORA_ISA
}  // namespace metalora
