// Matrix products as the ops need them: one or two factors into the same accumulators, the second one an adapter's low-rank
// term of the row's slot; an epilogue with bias, residual and dropout; and sums over the tokens of each slot (split-K).
// product_tensor.cu computes it on tensor cores, product_simt.cu in float for any type and alignment.
#pragma once

#include "core/philox.h"
#include "cuda/device.cuh"
#include "cuda/fault.h"
#include "metalora.h"

namespace metalora {
namespace cuda {

// Element (row, k) of slot i lies at data[i * slot + row * row_stride + k * k_stride].
struct Matrix {
    const void *data = nullptr;
    int32_t dtype = ML_F32;
    int64_t row_stride = 0, k_stride = 0, slot = 0;
};

// Low-rank rows in bf16 (h, or u): of all tokens at data[t * stride + column]; or, where slot > 0, behind the rows of a wider matrix
// with columns of its own for each slot, slot elements apart, which hold zeros but in those of t's slot.
struct LowRows {
    bf16 *data = nullptr;
    int64_t stride = 0, slot = 0;
    Matrix matrix() const { return {data, ML_BF16, stride, 1, slot}; }
};

// Adds sum over k of left[m, k] right[n, k]; by slot: rows of slot i with its right matrix, and no other rows.
struct Factor {
    Matrix left, right;
    int64_t k = 0;
    bool by_slot = false;
    float scale = 1;  // of this factor; tensor cores have it in an operand
};

// out[m, n] = mask * alpha * (sum of the factors) + bias[n] + residual[m, n] (+ out[m, n] when accumulating).
struct Product {
    int64_t m = 0, n = 0;
    Factor factor[2];
    int factors = 1;

    const int32_t *slot_offsets = nullptr;  // of the rows; of k where parts > 0
    int64_t slots = 0;
    int64_t tokens = 0;                     // what the last offset may not pass
    int *fault = nullptr;                   // where offsets that make no sense are reported; nullable

    void *out = nullptr;
    int32_t out_dtype = ML_F32;
    int64_t out_stride = 0;
    LowRows rounded;                        // the result again, where it has data
    int64_t rounded_columns = 0;            // of a row, zeros behind n

    float alpha = 1;
    const float *bias = nullptr;
    const void *residual = nullptr;         // of out's type and stride; may be out
    bool accumulate = false;
    DropoutRate dropout{0, 1};              // threshold 0: no mask
    uint64_t seed = 0, stream = 0;

    // Split-K, with part > 0: k are tokens. Factor 0 is summed over each slot's tokens, `part` of them at a time, with its operands
    // of the slot, into out[first_part(slot) + i][m][n], in float. Parts without tokens are not written.
    int64_t part = 0;
};

// Room for the parts of all slots, however the tokens are divided among them.
inline int64_t parts_of(const Product &p) { return p.tokens / p.part + p.slots; }

// Blocks that cover a result [m, n] of a split-K product once.
int64_t tiles_of(bool tensor, int64_t m, int64_t n);
int64_t tiles_of_simt(int64_t m, int64_t n);

// Whether tensor cores can: bf16, a stride of 1 in each operand, rows that start at multiples of 16 bytes.
bool fits_tensor_cores(const Product &);
cudaError_t product_tensor(const Product &, cudaStream_t);
cudaError_t product_simt(const Product &, cudaStream_t);
cudaError_t product(const Product &, cudaStream_t);

// A slot's parts have numbers of their own: it has at most end / part - begin / part + 1 of them.
__device__ inline int64_t first_part(int64_t begin, int64_t slot, int64_t part) { return begin / part + slot; }

// The tokens of a part and their slot; none if the part belongs to no slot.
struct Part {
    int64_t begin, end, slot;
};

__device__ inline Part part_of(const int32_t *slot_offsets, int64_t slots, int64_t all_tokens, int64_t part, int64_t number) {
    for (int64_t slot = 0; slot < slots; slot++) {
        const Segment tokens = segment_of(slot_offsets, slot, all_tokens);
        const int64_t begin = tokens.begin + (number - first_part(tokens.begin, slot, part)) * part;
        if (begin >= tokens.begin && begin < tokens.end) return {begin, begin + part < tokens.end ? begin + part : tokens.end, slot};
    }
    return {0, 0, 0};
}

__device__ inline Part part_of(const Product &p, int64_t number) { return part_of(p.slot_offsets, p.slots, p.tokens, p.part, number); }

// Where the block's result goes: the output, or the place of the part.
__device__ inline void *out_of(const Product &p) {
    return p.part > 0 ? static_cast<float *>(p.out) + blockIdx.z * p.m * p.out_stride : p.out;
}

// A number of a token's low-rank row, and zeros in its place in the other slots' columns.
__device__ inline void store_low(const LowRows &to, const int32_t *slot_offsets, int64_t slots, int64_t tokens, int64_t token, int64_t column,
                                 float value) {
    bf16 *at = to.data + token * to.stride + column;
    if (to.slot == 0) {
        *at = to_bf16(value);
        return;
    }
    for (int64_t slot = 0; slot < slots; slot++, at += to.slot) {
        const Segment own = segment_of(slot_offsets, slot, tokens);
        *at = to_bf16(token >= own.begin && token < own.end ? value : 0.0f);
    }
}

// The epilogue of N accumulated values of a row, to `out` = out_of(p). packed, for N = 8: out and residual can be accessed so many at a time.
template <int N> __device__ inline void finish(const Product &p, void *out, int64_t row, int64_t column, float (&v)[N], bool packed) {
    constexpr bool kPacks = N % 8 == 0;
    static_assert(N % 4 == 0, "whole groups of the random numbers' columns");
    for (int j = 0; j < N; j++) v[j] *= p.alpha;
    if (p.dropout.threshold != 0) {
        ML_UNROLL
        for (int first = 0; first < N; first += 4) {  // columns begin at multiples of four
            uint32_t words[4];
            philox_words(p.seed, p.stream, row, (column + first) / 4, words);
            ML_UNROLL
            for (int j = 0; j < 4; j++) v[first + j] *= words[j] < p.dropout.threshold ? 0.0f : p.dropout.keep_scale;
        }
    }
    const int64_t at = row * p.out_stride + column;
    auto add = [&](const void *more) {
        float values[N];
        if constexpr (kPacks) {
            if (packed) {
                if (p.out_dtype == ML_BF16) load<N>(values, static_cast<const bf16 *>(more) + at);
                else load<N>(values, static_cast<const float *>(more) + at);
                for (int j = 0; j < N; j++) v[j] += values[j];
                return;
            }
        }
        for (int j = 0; j < N; j++) {
            if (column + j >= p.n) break;
            v[j] += p.out_dtype == ML_BF16 ? to_float(static_cast<const bf16 *>(more)[at + j]) : static_cast<const float *>(more)[at + j];
        }
    };
    if (p.bias != nullptr) {
        for (int j = 0; j < N; j++) {
            if (column + j < p.n) v[j] += p.bias[column + j];
        }
    }
    if (p.residual != nullptr) add(p.residual);
    if (p.accumulate) add(out);
    if (p.rounded.data != nullptr) {
        for (int j = 0; j < N; j++) {
            if (column + j < p.rounded_columns) store_low(p.rounded, p.slot_offsets, p.slots, p.tokens, row, column + j, column + j < p.n ? v[j] : 0.0f);
        }
    }
    if (out == nullptr) return;
    if constexpr (kPacks) {
        if (packed) {
            if (p.out_dtype == ML_BF16) store<N>(static_cast<bf16 *>(out) + at, v);
            else store<N>(static_cast<float *>(out) + at, v);
            return;
        }
    }
    for (int j = 0; j < N; j++) {
        if (column + j >= p.n) break;
        if (p.out_dtype == ML_BF16) static_cast<bf16 *>(out)[at + j] = to_bf16(v[j]);
        else static_cast<float *>(out)[at + j] = v[j];
    }
}

// Columns that finish() has to see: with `rounded`, those behind n too.
__host__ __device__ inline int64_t columns_of(const Product &p) {
    return p.rounded.data != nullptr && p.rounded_columns > p.n ? p.rounded_columns : p.n;
}

// The first block of a kernel looks at the slots' offsets once.
__device__ inline void check_slot_offsets(const int32_t *slot_offsets, int64_t slots, int64_t tokens, int *fault) {
    if (fault == nullptr || slot_offsets == nullptr || blockIdx.x != 0 || blockIdx.y != 0 || blockIdx.z != 0) return;
    bool right = slot_offsets[0] == 0 && slot_offsets[slots] == tokens;
    for (int64_t i = threadIdx.x; i < slots; i += blockDim.x) right = right && slot_offsets[i] <= slot_offsets[i + 1];
    if (!right) *fault = kFaultSlotOffsets;
}

}  // namespace cuda
}  // namespace metalora
