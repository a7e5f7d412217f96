// u and dB of a LoRA linear's terms from one pass over dY, on tensor cores.
#pragma once

#include "cuda/product.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

struct AdapterBackward {
    const bf16 *dy;                  // [tokens, out], rows dy_stride apart
    const bf16 *h;                   // [tokens, terms * padded], dense; zeros behind each term's ranks, as for b and u
    Matrix b;                        // [slots][out][terms * padded], scaled
    LowRows u;                       // [tokens, terms * padded], written: scale B^T dy
    float *full_u;                   // where it goes in float and dense instead, if not nullptr
    int64_t tokens, rank, padded, slots;
    int64_t dy_stride;
    struct Term {
        int64_t first, rows;         // of dy's columns; first is a multiple of 8
        float *db;                   // [slots][rows][rank], added to
    } term[ML_LORA_TERMS];
    int64_t terms;
    int64_t slot_stride;             // of db
    const int32_t *slot_offsets;
    float scale;                     // of dB
    int *fault;
    int64_t part;                    // tokens of a part
    float *db_parts;                 // room for [parts][all terms' rows][rank]
    __host__ __device__ int64_t rows() const { return term[0].rows + term[1].rows + term[2].rows; }
};

// Columns of dY that a block takes.
constexpr int kAdapterColumns = 256;
// Ranks beyond this one take two passes: what the pass would have to write grows with the rank, what it saves does not.
constexpr int64_t kMostFusedRank = 32;
cudaError_t adapter_backward(State &, const AdapterBackward &);

}  // namespace cuda
}  // namespace metalora
