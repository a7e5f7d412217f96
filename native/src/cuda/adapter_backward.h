// u and dB of a term of a LoRA linear from one pass over dY, on tensor cores.
#pragma once

#include "cuda/product.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

struct AdapterBackward {
    const bf16 *dy;                  // [tokens, out], rows dy_stride apart
    const bf16 *h;                   // [tokens, rank], h_stride apart; zeros up to the next multiple of 8 ranks, as for b and u
    const bf16 *b;                   // [slots][out][rank], scaled; b_slot and h_stride apart
    bf16 *u;                         // [tokens, rank], h_stride apart, written: scale B^T dy
    int64_t tokens, out, rank, slots;
    int64_t dy_stride, h_stride, b_slot;
    const int32_t *slot_offsets;
    float scale;                     // of dB
    int *fault;
    int64_t part;                    // tokens a part of db_parts
    float *db_parts;                 // [parts][out][rank], written where a part has tokens
};

// Ranks beyond this one take two passes: what the pass would have to write grows with the rank, what it saves does not.
constexpr int64_t kMostFusedRank = 32;
cudaError_t adapter_backward(State &, const AdapterBackward &);

}  // namespace cuda
}  // namespace metalora
