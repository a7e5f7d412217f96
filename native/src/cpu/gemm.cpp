#include "cpu/gemm.h"

#include "core/blas.h"
#include "core/stride.h"
#include "cpu/round_bf16.h"
#include "cpu/split.h"
#include "cpu/tile.h"
#include "cpu/unpack.h"

namespace metalora {
namespace METALORA_ISA {

void tile(int rows, int panels, const Term *terms, int term_count, const float *init, int64_t ld_init, const float *bias,
          float *c, int64_t ldc, int width) {
    tile_as<false>(rows, panels, terms, term_count, init, ld_init, bias, c, ldc, width);
}

// ---- few rows: the weight is read once, straight from its storage -----------------------------------------------

template <int Rows, bool Bf16>
static void few_rows(const float *a, int64_t lda, const void *panel, int64_t depth, float *sums) {
    // Two accumulators a sum, for even and odd steps, hide the latency of the additions.
    Vec acc[2][Rows][kVectors];
    for (int p = 0; p < 2; p++)
        for (int row = 0; row < Rows; row++)
            for (int v = 0; v < kVectors; v++) acc[p][row][v] = zero();
    const auto load_weight = [&](int64_t k, int v) {
        const int64_t at = k * kPanel + v * kWidth;
        return Bf16 ? load_bf16(static_cast<const uint16_t *>(panel) + at) : load(static_cast<const float *>(panel) + at);
    };
    int64_t k = 0;
    for (; k + 2 <= depth; k += 2) {
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) {
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; v++) {
                const Vec weight = load_weight(k + p, v);
#pragma GCC unroll 4
                for (int row = 0; row < Rows; row++) {
                    acc[p][row][v] = fma(broadcast(a[row * lda + k + p]), weight, acc[p][row][v]);
                }
            }
        }
    }
    for (; k < depth; k++)
        for (int v = 0; v < kVectors; v++)
            for (int row = 0; row < Rows; row++)
                acc[0][row][v] = fma(broadcast(a[row * lda + k]), load_weight(k, v), acc[0][row][v]);
    for (int row = 0; row < Rows; row++)
        for (int v = 0; v < kVectors; v++) store(sums + row * kPanel + v * kWidth, acc[0][row][v] + acc[1][row][v]);
}

typedef void (*FewRows)(const float *, int64_t, const void *, int64_t, float *);
constexpr int kFewRows = 2;
static const FewRows few_rows_f32[kFewRows] = {few_rows<1, false>, few_rows<2, false>};
static const FewRows few_rows_bf16[kFewRows] = {few_rows<1, true>, few_rows<2, true>};

// ---- blocking ---------------------------------------------------------------------------------------------------

// A panel's share of one depth block, kDepthBlock x kPanel floats, stays in the first-level cache while a block of rows
// passes by. The panels of a group and the rows of a block stay in the second-level cache meanwhile.
constexpr int64_t kDepthBlock = 320;
constexpr int64_t kGroup = 8;
constexpr int64_t kRowBlock = (96 + kTileRows - 1) / kTileRows;  // in tiles

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What a product runs on.
struct Kernels {
    decltype(&tile) sum;
    decltype(&unpack) block;  // nullptr: the weight is read where it lies
};

// The last term of a tile: its rows times the adapter of their slot. A tile over several slots takes one term a slot,
// with the other slots' rows at zero.
struct LowTerm {
    const float *low;  // [kTileRows, rank]
    int32_t slot;
};

struct Plan {
    const Gemm &g;
    Kernels kernels;
    int64_t depth, columns, panels, lda, ldc;  // depth in steps: of pairs, half as many
    int64_t depth_block;
    const int32_t *first_term;  // low_terms[first_term[i] .. first_term[i + 1]) belong to row tile i
    const LowTerm *low_terms;
};

// One tile's sums over the depths [k0, k0 + kc); the first block starts from init and bias, the last adds the adapters.
static inline void run_tile(const Plan &p, int64_t t, int64_t panel, int panels, int64_t k0, int64_t kc, const float *b,
                            int64_t panel_stride) {
    const Gemm &g = p.g;
    const int64_t row = t * kTileRows, column = panel * kPanel, at = row * p.ldc + column;
    const int rows = static_cast<int>(min64(kTileRows, g.rows - row));
    const int width = static_cast<int>(min64(panels * kPanel, p.columns - column));
    const float *init = k0 > 0 ? g.c + at : g.init != nullptr ? g.init + at : nullptr;
    const float *bias = k0 == 0 && g.bias != nullptr ? g.bias + column : nullptr;
    Term terms[1 + kTileRows];
    terms[0] = {g.a + row * p.lda + k0, p.lda, b, panel_stride, kc};
    int count = 1;
    if (g.low_rank != nullptr && k0 + kc == p.depth) {
        const LowRank &l = *g.low_rank;
        for (int32_t i = p.first_term[t]; i < p.first_term[t + 1]; i++) {
            const float *adapter = l.panels + (panel * l.slots + p.low_terms[i].slot) * l.rank * kPanel;
            terms[count++] = {p.low_terms[i].low, l.rank, adapter, l.slots * l.rank * kPanel, l.rank};
        }
    }
    p.kernels.sum(rows, panels, terms, count, init, p.ldc, bias, g.c + at, p.ldc, width);
}

static void run_part(const Plan &p, int64_t tile0, int64_t tile1, int64_t panel0, int64_t panel1) {
    alignas(64) float block[kGroup * kDepthBlock * kPanel];
    const Gemm &g = p.g;
    const bool direct = p.kernels.block == nullptr;
    for (int64_t k0 = 0; k0 < p.depth; k0 += p.depth_block) {
        const int64_t kc = min64(p.depth_block, p.depth - k0);
        if (!direct) p.kernels.block(*g.w, panel0, panel1, k0, kc, block);
        for (int64_t block0 = tile0; block0 < tile1; block0 += kRowBlock) {
            const int64_t block1 = min64(block0 + kRowBlock, tile1);
            for (int64_t panel = panel0; panel < panel1; panel += kTilePanels) {
                const int panels = tile_panels(panel, panel1);
                const float *b = direct ? static_cast<const float *>(weight_data(*g.w)) + (panel * p.depth + k0) * kPanel
                                        : block + (panel - panel0) * kc * kPanel;
                const int64_t panel_stride = (direct ? p.depth : kc) * kPanel;
                for (int64_t t = block0; t < block1; t++) run_tile(p, t, panel, panels, k0, kc, b, panel_stride);
            }
        }
    }
}

// Which slots each row tile meets. Rows of a tile inside one slot are used where they are.
static ml_status plan_low_rank(Context &context, const LowRank &l, int64_t rows, Plan &plan) {
    const int64_t tiles = ceil_div(rows, kTileRows);
    auto *first = static_cast<int32_t *>(cpu_scratch(context, (tiles + 1) * sizeof(int32_t)));
    auto *terms = static_cast<LowTerm *>(cpu_scratch(context, (tiles + l.slots) * sizeof(LowTerm)));
    if (first == nullptr || terms == nullptr) return ML_OUT_OF_MEMORY;
    int32_t count = 0;
    int64_t slot = 0;
    for (int64_t t = 0; t < tiles; t++) {
        first[t] = count;
        const int64_t row0 = t * kTileRows, row1 = min64(row0 + kTileRows, rows);
        while (l.slot_offsets[slot + 1] <= row0) slot++;
        if (l.slot_offsets[slot + 1] >= row1) {
            terms[count++] = {l.low + row0 * l.rank, static_cast<int32_t>(slot)};
            continue;
        }
        for (int64_t s = slot; s < l.slots && l.slot_offsets[s] < row1; s++) {
            const int64_t from = l.slot_offsets[s] > row0 ? l.slot_offsets[s] : row0;
            const int64_t to = min64(l.slot_offsets[s + 1], row1);
            if (from >= to) continue;
            float *masked = scratch_floats(context, kTileRows * l.rank);
            if (masked == nullptr) return ML_OUT_OF_MEMORY;
            for (int64_t i = 0; i < kTileRows * l.rank; i++) masked[i] = 0.0f;
            for (int64_t i = (from - row0) * l.rank; i < (to - row0) * l.rank; i++) masked[i] = l.low[row0 * l.rank + i];
            terms[count++] = {masked, static_cast<int32_t>(s)};
        }
    }
    first[tiles] = count;
    plan.first_term = first;
    plan.low_terms = terms;
    return ML_OK;
}

static void gemm_few_rows(Context &context, const Plan &p) {
    const Gemm &g = p.g;
    const int64_t depth = p.depth, columns = p.columns, panels = p.panels;
    const bool bf16 = weight_is_bf16(*g.w);
    const FewRows kernel = (bf16 ? few_rows_bf16 : few_rows_f32)[g.rows - 1];
    // Enough panels a part to read some 64 KiB.
    const int64_t group = ceil_div(1 << 15, depth * kPanel);
    parallel(context, static_cast<int>(ceil_div(panels, group)), [&](int part) {
        alignas(64) float sums[kFewRows * kPanel];
        for (int64_t panel = part * group; panel < min64((part + 1) * group, panels); panel++) {
            const char *data = static_cast<const char *>(weight_data(*g.w)) + panel * depth * kPanel * (bf16 ? 2 : 4);
            kernel(g.a, p.lda, data, depth, sums);
            const int64_t column = panel * kPanel;
            const int width = static_cast<int>(min64(kPanel, columns - column));
            for (int64_t row = 0; row < g.rows; row++) {
                float *sum = sums + row * kPanel;
                if (g.low_rank != nullptr) {
                    const LowRank &l = *g.low_rank;
                    int64_t slot = 0;
                    while (l.slot_offsets[slot + 1] <= row) slot++;
                    const float *b = l.panels + (panel * l.slots + slot) * l.rank * kPanel;
                    const Term term = {l.low + row * l.rank, l.rank, b, 0, l.rank};
                    tile(1, 1, &term, 1, sum, kPanel, nullptr, sum, kPanel, kPanel);
                }
                for (int i = 0; i < width; i++) {
                    float y = sum[i];
                    if (g.bias != nullptr) y += g.bias[column + i];
                    if (g.init != nullptr) y += g.init[row * p.ldc + column + i];
                    g.c[row * p.ldc + column + i] = y;
                }
            }
        }
    });
}

// ---- f32 weights by a BLAS from outside -------------------------------------------------------------------------

// Every thread multiplies a slice of the longer side of c, because it has the operand along the other side to pack as a
// whole. Slices depend on the count of threads alone, so the bits do too.
static void gemm_by_blas(Context &context, const Plan &p) {
    const Gemm &g = p.g;
    const int64_t tiles = ceil_div(g.rows, kTileRows);
    const bool by_rows = g.rows > p.columns;
    const int64_t units = by_rows ? tiles : p.panels, parts = min64(cpu_threads(context), units);
    const float *w = static_cast<const float *>(weight_data(*g.w));
    const int64_t in = weight_in(*g.w);
    parallel(context, static_cast<int>(parts), [&](int part) {
        const int64_t from = part * units / parts, to = (part + 1) * units / parts;
        const int64_t tile0 = by_rows ? from : 0, tile1 = by_rows ? to : tiles;
        const int64_t panel0 = by_rows ? 0 : from, panel1 = by_rows ? p.panels : to;
        const int64_t row0 = tile0 * kTileRows, row1 = min64(tile1 * kTileRows, g.rows);
        const int64_t column0 = panel0 * kPanel, columns = min64(panel1 * kPanel, p.columns) - column0;
        float *c = g.c + row0 * p.ldc + column0;
        if (g.bias != nullptr || g.init != nullptr) {
            for (int64_t row = 0; row < row1 - row0; row++) {
                float *sum = c + row * p.ldc;
                const float *init = g.init == nullptr ? nullptr : g.init + (sum - g.c);
                for (int64_t i = 0; i < columns; i++) {
                    sum[i] = (init == nullptr ? 0.0f : init[i]) + (g.bias == nullptr ? 0.0f : g.bias[column0 + i]);
                }
            }
        }
        blas()->sgemm(!g.transposed, row1 - row0, columns, p.depth, g.a + row0 * p.lda, p.lda,
                      w + column0 * (g.transposed ? 1 : in), in, g.bias == nullptr && g.init == nullptr ? 0.0f : 1.0f, c,
                      p.ldc);
        if (g.low_rank == nullptr) return;
        for (int64_t panel = panel0; panel < panel1; panel += kTilePanels) {
            const int panels = tile_panels(panel, panel1);
            for (int64_t t = tile0; t < tile1; t++) run_tile(p, t, panel, panels, p.depth, 0, nullptr, 0);  // the adapters alone
        }
    });
}

// ---- entry ------------------------------------------------------------------------------------------------------

static bool is_few_rows(const Gemm &g) { return g.rows <= kFewRows && !g.transposed && !weight_is_row_major(*g.w); }
static int64_t depth_of(const Gemm &g) { return g.transposed ? weight_out(*g.w) : weight_in(*g.w); }

// Two bf16 numbers in each float's place, the second of the last zero where depth is odd.
static void round_to_pairs(const float *from, int64_t depth, float *to) {
    char *bytes = reinterpret_cast<char *>(to);
    for (int64_t k = 0; k < depth; k++) {
        const uint16_t bits = bf16_of(from[k]);
        memcpy(bytes + 2 * k, &bits, sizeof bits);
    }
    if (depth % 2 != 0) memset(bytes + 2 * depth, 0, 2);
}

// Kernels for bf16 pairs; nullptr where the processor has none.
static Kernels kernels_of_pairs(const Context &context, const Gemm &g) {
#if defined(METALORA_PAIRS)
    if (cpu_dots_pairs(context)) return {tile_of_pairs, g.transposed ? unpack_pairs_transposed : unpack_pairs};
#else
    (void)context, (void)g;
#endif
    return {nullptr, nullptr};
}

static Kernels kernels_of_floats(const Gemm &g) {
    return {tile, g.transposed ? unpack_transposed : weight_is_bf16(*g.w) ? unpack : nullptr};
}

static ml_status product(Context &context, const Gemm &g, const Kernels &kernels, int64_t depth) {
    const int64_t columns = g.transposed ? weight_in(*g.w) : weight_out(*g.w);
    const int64_t panels = ceil_div(columns, kPanel);
    const bool by_blas = weight_is_row_major(*g.w);
    const int64_t blocks = ceil_div(depth, kDepthBlock);
    // Blocks of equal depth; whole panels when the depth runs across them.
    Plan plan = {g, kernels, depth, columns, panels, stride_of(g.lda, depth), stride_of(g.ldc, columns),
                 ceil_div(ceil_div(depth, blocks), kPanel) * kPanel, nullptr, nullptr};
    if (is_few_rows(g)) {
        gemm_few_rows(context, plan);
        return ML_OK;
    }
    if (g.low_rank != nullptr) {
        if (ml_status status = plan_low_rank(context, *g.low_rank, g.rows, plan); status != ML_OK) return status;
    }
    if (by_blas) {
        gemm_by_blas(context, plan);
        return ML_OK;
    }
    const int64_t tiles = ceil_div(g.rows, kTileRows), threads = cpu_threads(context);
    // As many groups of panels for each thread; with few panels, rows are split too. Groups end where tiles do.
    const int64_t units = ceil_div(panels, kTilePanels), most = kGroup / kTilePanels;
    const int64_t groups = min64(threads * ceil_div(units, threads * most), units);
    const int64_t row_parts = min64(ceil_div(2 * threads, groups) + g.rows / 1024, tiles);
    parallel(context, static_cast<int>(groups * row_parts), [&](int part) {
        const int64_t group = part / row_parts, rows = part % row_parts;
        run_part(plan, rows * tiles / row_parts, (rows + 1) * tiles / row_parts, group * units / groups * kTilePanels,
                 min64((group + 1) * units / groups * kTilePanels, panels));
    });
    return ML_OK;
}

ml_status gemm(Context &context, const Gemm &g) {
    const int64_t depth = depth_of(g);
    if (g.rows == 0) return ML_OK;
    if (!cpu_rounds_to_bf16(context) || !weight_is_bf16(*g.w)) return product(context, g, kernels_of_floats(g), depth);
    // Where there are no kernels for pairs, floats with the rounded values give the same products. With few rows, reading the
    // weight takes the time.
    const Kernels of_pairs = kernels_of_pairs(context, g);
    const bool pairs = of_pairs.sum != nullptr && !is_few_rows(g);
    const int64_t steps = pairs ? ceil_div(depth, 2) : depth, lda = stride_of(g.lda, depth);
    // Given back at the end: an op of many products, as cross entropy in chunks, holds one of them.
    const ScratchMark before = cpu_scratch_mark(context);
    float *rounded = scratch_floats(context, g.rows * steps);
    if (rounded == nullptr) return ML_OUT_OF_MEMORY;
    parallel_ranges(context, g.rows, depth, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; row++) {
            const float *from = g.a + row * lda;
            float *to = rounded + row * steps;
            if (pairs) round_to_pairs(from, depth, to);
            else for (int64_t k = 0; k < depth; k++) to[k] = float_of_bf16(bf16_of(from[k]));
        }
    });
    Gemm of_rounded = g;
    of_rounded.a = rounded;
    of_rounded.lda = 0;
    const ml_status status = product(context, of_rounded, pairs ? of_pairs : kernels_of_floats(g), steps);
    cpu_scratch_release(context, before);
    return status;
}

}  // namespace METALORA_ISA
}  // namespace metalora
