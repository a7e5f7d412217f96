// Blocks of a frozen weight as floats, in the order the micro-kernel reads them, and single rows. Blocks are of weights
// in panels, rows of all.
#pragma once

#include "cpu/runtime.h"

namespace metalora {
namespace METALORA_ISA {

// block[panel - panel0][k - k0][kPanel] = W[panel's out features, k] for k in [k0, k0 + count).
void unpack(const ml_weight &, int64_t panel0, int64_t panel1, int64_t k0, int64_t count, float *block);

// block[panel - panel0][n - n0][kPanel] = W[n, in features panel * kPanel + ..) for n in [n0, n0 + count): panels
// along the other side. n0 is a multiple of kPanel.
void unpack_transposed(const ml_weight &, int64_t panel0, int64_t panel1, int64_t n0, int64_t count, float *block);

// Blocks of weights held in bf16, two numbers in a float's place: those of steps 2 s and 2 s + 1 along the depth, s in
// [step0, step0 + count), zero behind its end. Transposed, step0 is a multiple of kPanel. In the AVX-512 kernels alone.
void unpack_pairs(const ml_weight &, int64_t panel0, int64_t panel1, int64_t step0, int64_t count, float *block);
void unpack_pairs_transposed(const ml_weight &, int64_t panel0, int64_t panel1, int64_t step0, int64_t count, float *block);

// row[0 .. in) = W[n, :]
void unpack_row(const ml_weight &, int64_t n, float *row);

}  // namespace METALORA_ISA
}  // namespace metalora
