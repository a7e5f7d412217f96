// What the kernels for attention share: which keys a query sees, and what a block reads of a sequence.
#pragma once

#include "cuda/device.cuh"
#include "cuda/fault.h"
#include "metalora.h"

namespace metalora {
namespace cuda {

struct AttentionProblem {
    ml_attention_desc d;  // with its strides filled in
    int64_t most_keys;   // that k and v have room for
    int *fault;
    const float *delta;  // backward: [T, heads], dO . O
};

// A sequence's queries and keys, as far as they lie in the arrays.
struct AttentionSequence {
    int64_t q0, queries, k0, keys;
    __device__ int64_t shift() const { return keys - queries; }  // query i sits at position i + shift among the keys
};

// A block takes a tile of a sequence's queries, or keys, for a head: of every sequence as many as the longest one has.
inline Grid attention_grid(const ml_attention_desc &d, int tile, int64_t heads) {
    return Grid(blocks_for(d.max_length, tile) * d.sequences, heads);
}

struct AttentionBlock {
    int64_t sequence, first;  // query or key
};

__device__ inline AttentionBlock attention_block(const ml_attention_desc &d, int tile) {
    const int64_t tiles = blocks_for(d.max_length, tile);
    return {blockIdx.x / tiles, blockIdx.x % tiles * tile};
}

__device__ inline AttentionSequence sequence_of(const AttentionProblem &p, int64_t s) {
    const ml_attention_desc &d = p.d;
    const bool own_keys = d.kv_offsets != nullptr;
    const Segment q = segment_of(d.q_offsets, s, d.tokens), k = own_keys ? segment_of(d.kv_offsets, s, p.most_keys) : q;
    if (threadIdx.x == 0) {
        if (q.begin != d.q_offsets[s] || q.end != d.q_offsets[s + 1] || (s == 0 && q.begin != 0) || (s == d.sequences - 1 && q.end != d.tokens)) {
            *p.fault = kFaultQueryOffsets;
        } else if (q.end - q.begin > d.max_length) {
            *p.fault = kFaultMaxLength;
        } else if (own_keys && (k.begin != d.kv_offsets[s] || k.end != d.kv_offsets[s + 1] || k.end - k.begin < q.end - q.begin)) {
            *p.fault = kFaultKeyOffsets;
        }
    }
    int64_t queries = q.end - q.begin;
    if (queries > k.end - k.begin) queries = k.end - k.begin;
    return {q.begin, queries, k.begin, k.end - k.begin};
}

// Whether the query at `position` sees key j.
__device__ inline bool sees(const ml_attention_desc &d, int64_t position, int64_t j) {
    return j <= position && (d.window == 0 || j > position - d.window);
}

// Keys that queries [i0, i0 + tile) see any of; begins at a multiple of the tile.
struct KeyRange {
    int64_t begin, end;
};

__device__ inline KeyRange keys_of_queries(const ml_attention_desc &d, const AttentionSequence &s, int64_t i0, int tile) {
    const int64_t last = i0 + tile < s.queries ? i0 + tile - 1 : s.queries - 1;
    const int64_t begin = d.window > 0 ? i0 + s.shift() - d.window + 1 : 0;
    return {begin < 0 ? 0 : begin / tile * tile, last + s.shift() + 1};
}

// Behind the last query that sees any of keys [j0, j0 + tile), with as many queries as keys.
__device__ inline int64_t end_of_queries(const ml_attention_desc &d, const AttentionSequence &s, int64_t j0, int tile) {
    const int64_t end = d.window > 0 ? j0 + tile - 1 + d.window : s.queries;
    return end < s.queries ? end : s.queries;
}

bool attention_fits_tensor_cores(const ml_attention_desc &);
cudaError_t attention_forward_tensor(const AttentionProblem &, cudaStream_t);
cudaError_t attention_backward_tensor(const AttentionProblem &, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
