// Products by a frozen weight, with or without an adapter's term: by the fused kernel, which takes the term as a K-tail of its own
// tiles, or by cuBLASLt over [x, h] [W, scale B]^T and [dy, u] [W; A], whichever was measured to be faster for the shape.
#pragma once

#include "cuda/library.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

// An adapter's term of a product by a frozen weight: low [m, rank], high rows along rank, by slot; both bf16, the rank a
// multiple of 8.
struct LowRank {
    Matrix low, high;
    int64_t rank = 0;
    bool beside_rows = false;    // low lies behind the rows of factor 0's left operand, with columns for each slot (LowRows)
    bool beside_weight = false;  // high lies in the weight's tail, slot by slot
};

// p's factor 0 is by a weight, bf16 in all; `transposed`: by W^T, so that out features are its k.
cudaError_t matmul(State &, const Product &p, bool transposed, const LowRank *);

}  // namespace cuda
}  // namespace metalora
