// Any library with the C interface of the BLAS; OpenBLAS also reports its version and takes a thread count.
#include <cblas.h>

#include <cstdio>

#include "core/blas.h"

extern "C" {
__attribute__((weak)) char *openblas_get_config(void);
__attribute__((weak)) void openblas_set_num_threads(int);
}

namespace metalora {

static void sgemm(bool b_transposed, int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    if (rows == 1) {  // sgemm would pack b first, which takes longer than the product
        cblas_sgemv(CblasRowMajor, b_transposed ? CblasNoTrans : CblasTrans, b_transposed ? columns : depth,
                    b_transposed ? depth : columns, 1.0f, b, ldb, a, 1, beta, c, 1);
        return;
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, b_transposed ? CblasTrans : CblasNoTrans, rows, columns, depth, 1.0f, a, lda, b,
                ldb, beta, c, ldc);
}

static Blas open() {
    Blas opened = {"system BLAS", sgemm};
    if (openblas_get_config != nullptr) {  // "OpenBLAS 0.3.31 DYNAMIC_ARCH NO_AFFINITY Zen MAX_THREADS=64"
        char version[32] = "";
        std::sscanf(openblas_get_config(), "OpenBLAS %31s", version);
        std::snprintf(opened.name, sizeof opened.name, "OpenBLAS %s", version);
    }
    // The context's threads call it side by side: threads of its own would only take their cores.
    if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
    return opened;
}

const Blas *blas() {
    static const Blas opened = open();
    return &opened;
}

}  // namespace metalora
