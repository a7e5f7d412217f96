// A BLAS from outside for the products with f32 weights, where the build chose one (METALORA_BLAS).
#pragma once

#include <stdint.h>

namespace metalora {

struct Blas {
    char name[64];  // with its version, where it tells
    // c[rows, columns] = a[rows, depth] b[depth, columns] + beta * c, or with b_transposed from b[columns, depth].
    // All row-major, with their rows' distances. Runs on the calling thread alone; safe to call from many.
    void (*sgemm)(bool b_transposed, int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
};

// nullptr: none, all products are our own kernels'.
const Blas *blas();

}  // namespace metalora
