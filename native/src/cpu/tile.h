// The micro-kernel of the products, for tile() and tile_of_pairs() alone: a tile's sums held in registers.
#pragma once

#include "cpu/gemm.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

constexpr int kVectors = kPanel / kWidth;  // of a panel's row

// sum += a * b, in place, or with Pairs both products of a's and b's two bf16 numbers. The statements keep every accumulator
// in its register: left to itself the compiler picks forms of the instruction that overwrite a factor, and then moves and
// spills accumulators inside the innermost loop.
template <bool Pairs>
static inline void accumulate(Vec &sum, Vec a, Vec b) {
#if defined(__AVX512BF16__)
    if (Pairs) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    else
#endif
#if defined(__AVX2__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
    sum = fma(a, b, sum);
#endif
}

template <bool Pairs, int Rows, int Panels>
static inline void step(Vec (&acc)[Rows][Panels * kVectors], const float *a, int64_t lda, const float *b, int64_t panel_stride) {
    Vec column[Panels * kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < Panels * kVectors; v++) column[v] = load(b + v / kVectors * panel_stride + v % kVectors * kWidth);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++) {
        const Vec x = broadcast(a[row * lda]);
#pragma GCC unroll 4
        for (int v = 0; v < Panels * kVectors; v++) accumulate<Pairs>(acc[row][v], x, column[v]);
    }
}

template <bool Pairs, int Rows, int Panels>
static inline __attribute__((always_inline)) void add_term(Vec (&acc)[Rows][Panels * kVectors], const Term &term) {
    const float *a = term.a, *b = term.b;
    const int64_t lda = term.lda, panel_stride = term.panel_stride;
    int64_t steps = term.steps;
    for (; steps >= 4; steps -= 4) {
        step<Pairs, Rows, Panels>(acc, a, lda, b, panel_stride);
        step<Pairs, Rows, Panels>(acc, a + 1, lda, b + kPanel, panel_stride);
        step<Pairs, Rows, Panels>(acc, a + 2, lda, b + 2 * kPanel, panel_stride);
        step<Pairs, Rows, Panels>(acc, a + 3, lda, b + 3 * kPanel, panel_stride);
        a += 4;
        b += 4 * kPanel;
    }
    for (; steps > 0; steps--) {
        step<Pairs, Rows, Panels>(acc, a, lda, b, panel_stride);
        a++;
        b += kPanel;
    }
}

template <bool Pairs, int Rows, int Panels>
static void full_tile(const Term *terms, int term_count, const float *init, int64_t ld_init, const float *bias, float *c,
                      int64_t ldc) {
    constexpr int vectors = Panels * kVectors;
    Vec acc[Rows][vectors];
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++) {
#pragma GCC unroll 2
        for (int panel = 0; panel < Panels; panel++) {
            __builtin_prefetch(c + row * ldc + panel * kPanel, 1);
            if (init != nullptr) __builtin_prefetch(init + row * ld_init + panel * kPanel);
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) acc[row][v] = zero();
    }
    if (Pairs) add_term<true, Rows, Panels>(acc, terms[0]);
    for (int t = Pairs ? 1 : 0; t < term_count; t++) add_term<false, Rows, Panels>(acc, terms[t]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        const Vec offset = bias == nullptr ? zero() : load(bias + v * kWidth);
#pragma GCC unroll 16
        for (int row = 0; row < Rows; row++) {
            Vec sum = acc[row][v];
            if (bias != nullptr) sum = sum + offset;
            if (init != nullptr) sum = sum + load(init + row * ld_init + v * kWidth);
            store(c + row * ldc + v * kWidth, sum);
        }
    }
}

typedef void (*FullTile)(const Term *, int, const float *, int64_t, const float *, float *, int64_t);

template <bool Pairs>
static const FullTile full_tiles[kTilePanels][kTileRows] = {
#if defined(__AVX512F__)
    {full_tile<Pairs, 1, 1>, full_tile<Pairs, 2, 1>, full_tile<Pairs, 3, 1>, full_tile<Pairs, 4, 1>, full_tile<Pairs, 5, 1>,
     full_tile<Pairs, 6, 1>, full_tile<Pairs, 7, 1>, full_tile<Pairs, 8, 1>, full_tile<Pairs, 9, 1>, full_tile<Pairs, 10, 1>,
     full_tile<Pairs, 11, 1>, full_tile<Pairs, 12, 1>, full_tile<Pairs, 13, 1>, full_tile<Pairs, 14, 1>},
    {full_tile<Pairs, 1, 2>, full_tile<Pairs, 2, 2>, full_tile<Pairs, 3, 2>, full_tile<Pairs, 4, 2>, full_tile<Pairs, 5, 2>,
     full_tile<Pairs, 6, 2>, full_tile<Pairs, 7, 2>, full_tile<Pairs, 8, 2>, full_tile<Pairs, 9, 2>, full_tile<Pairs, 10, 2>,
     full_tile<Pairs, 11, 2>, full_tile<Pairs, 12, 2>, full_tile<Pairs, 13, 2>, full_tile<Pairs, 14, 2>},
#elif defined(__AVX2__)
    {full_tile<Pairs, 1, 1>, full_tile<Pairs, 2, 1>, full_tile<Pairs, 3, 1>, full_tile<Pairs, 4, 1>, full_tile<Pairs, 5, 1>,
     full_tile<Pairs, 6, 1>},
#else
    {full_tile<Pairs, 1, 1>, full_tile<Pairs, 2, 1>},
#endif
};

// As tile() in cpu/gemm.h; with Pairs the first term is of pairs.
template <bool Pairs>
static inline void tile_as(int rows, int panels, const Term *terms, int term_count, const float *init, int64_t ld_init,
                           const float *bias, float *c, int64_t ldc, int width) {
    const FullTile kernel = full_tiles<Pairs>[panels - 1][rows - 1];
    if (width == panels * kPanel) {
        kernel(terms, term_count, init, ld_init, bias, c, ldc);
        return;
    }
    alignas(64) float sums[kTileRows * kTileColumns];
    kernel(terms, term_count, nullptr, 0, nullptr, sums, kTileColumns);
    for (int row = 0; row < rows; row++) {
        for (int i = 0; i < width; i++) {
            float sum = sums[row * kTileColumns + i];
            if (bias != nullptr) sum += bias[i];
            if (init != nullptr) sum += init[row * ld_init + i];
            c[row * ldc + i] = sum;
        }
    }
}

}  // namespace METALORA_ISA
}  // namespace metalora
