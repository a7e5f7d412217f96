// What the heads of a mixture add to a LoRA linear, token by token: softmax and w (x) h forward, their gradients backward.
#pragma once

#include "cuda/product.h"

namespace metalora {
namespace cuda {

// Rows [tokens, terms * padded] as products take them, in bf16 on tensor cores and else in float; zeros behind each term's
// columns.
struct TermRows {
    LowRows rounded;
    float *full = nullptr;
    int64_t padded = 0;
    __host__ __device__ bool wanted() const { return rounded.data != nullptr || full != nullptr; }
};

// mixed = w (x) h. From z, [tokens, terms * z_padded], each term's products by A and then by the router, come h and the weights
// first; where there is no z they are read.
cudaError_t mix(const ml_mixture_linear_desc &, const float *z, int64_t z_padded, const TermRows &mixed, cudaStream_t);

// u is [tokens, terms * u_padded], laid out as `mixed` above. `direct` becomes each term's d_h and then d_z; where `masked` is
// wanted, because A saw another x than the router, that becomes d_h, and `direct` has zeros in its place.
cudaError_t unmix(const ml_mixture_linear_desc &, const float *u, int64_t u_padded, const TermRows &direct,
                  const TermRows &masked, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
