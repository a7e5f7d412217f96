// Attention on tensor cores, for bf16 and the usual head sizes: the same walk over tiles as attention.cu, with 64 queries, or
// keys, a block and 16 of them a warp. Scores, weights and sums are float; weights are rounded to bf16 where they meet v.
#include "cuda/attention.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kTile = 64, kWarps = 4, kThreads = kWarps * kWarp;

// Shared memory of a tile: kTile rows of kHeadDim and 16 bytes, so that the rows of a fragment lie in different banks.
template <int kHeadDim> constexpr int kLine = kHeadDim + 8;
template <int kHeadDim> constexpr int kElements = kTile * kLine<kHeadDim>;

// Rows [first, first + kRows) of a head, zeros from `count` on, to be waited for.
template <int kHeadDim, int kRows = kTile>
__device__ inline void load_rows(bf16 *tile, const void *x, int64_t token0, int64_t stride, int64_t head, int64_t first, int64_t count) {
    constexpr int kChunks = kHeadDim / 8;
    const auto *from = static_cast<const bf16 *>(x) + head * kHeadDim;
    for (int e = threadIdx.x; e < kRows * kChunks; e += kThreads) {
        const int row = e / kChunks, c = e % kChunks * 8;
        const bool valid = first + row < count;
        cp_async_16(tile + row * kLine<kHeadDim> + c, from + (valid ? (token0 + first + row) * stride + c : 0), valid);
    }
}

__device__ inline void wait_for_rows() {
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
}

// sum[16, 8 N] += a[16 rows of a tile from `row` on] b[8 N]^T over kHeadDim.
template <int kHeadDim, int N> __device__ inline void multiply_along(float (&sum)[N][4], const bf16 *a, int row, const bf16 *b) {
    const int lane = threadIdx.x % kWarp;
    ML_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) {
        uint32_t left[4];
        ldmatrix_x4(left, a + (row + lane % 16) * kLine<kHeadDim> + k + lane / 16 * 8);
        ML_UNROLL
        for (int j = 0; j < N * 8; j += 16) {
            uint32_t both[4];
            ldmatrix_x4(both, b + (j + lane % 8 + lane / 16 * 8) * kLine<kHeadDim> + k + lane / 8 % 2 * 8);
            mma_m16n8k16(sum[j / 8], left, {both[0], both[1]});
            mma_m16n8k16(sum[j / 8 + 1], left, {both[2], both[3]});
        }
    }
}

__device__ inline uint32_t pair_of(float low, float high) {
    union {
        bf16 half[2];
        uint32_t bits;
    } pair;
    pair.half[0] = to_bf16(low), pair.half[1] = to_bf16(high);
    return pair.bits;
}

// sum[16, kHeadDim] += weights[16, 8 N] b[8 N, kHeadDim]. What a product of fragments left in registers is the left operand
// of the next one as it lies there.
template <int kHeadDim, int N>
__device__ inline void multiply_across(float (&sum)[kHeadDim / 8][4], const float (&weights)[N][4], const bf16 *b) {
    const int lane = threadIdx.x % kWarp;
    ML_UNROLL
    for (int k = 0; k < N * 8; k += 16) {
        const auto &low = weights[k / 8], &high = weights[k / 8 + 1];
        const uint32_t left[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]), pair_of(high[0], high[1]), pair_of(high[2], high[3])};
        ML_UNROLL
        for (int c = 0; c < kHeadDim; c += 16) {
            uint32_t both[4];
            ldmatrix_x4_trans(both, b + (k + lane % 16) * kLine<kHeadDim> + c + lane / 16 * 8);
            mma_m16n8k16(sum[c / 8], left, {both[0], both[1]});
            mma_m16n8k16(sum[c / 8 + 1], left, {both[2], both[3]});
        }
    }
}

template <int N> __device__ inline void clear(float (&x)[N][4]) {
    ML_UNROLL
    for (int i = 0; i < N; i++) {
        ML_UNROLL
        for (int e = 0; e < 4; e++) x[i][e] = 0;
    }
}

// Over the four lanes that share a fragment's row.
__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(kFullMask, x, 1));
    return fmaxf(x, __shfl_xor_sync(kFullMask, x, 2));
}

__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(kFullMask, x, 1);
    return x + __shfl_xor_sync(kFullMask, x, 2);
}

// Rows of a fragment that holds [16, kHeadDim], each times its factor, to a head's rows.
template <int kHeadDim>
__device__ inline void store_rows(void *x, const float (&sum)[kHeadDim / 8][4], int64_t token0, int64_t stride, int64_t head, int64_t first,
                                  int64_t count, float factor0, float factor1) {
    const int lane = threadIdx.x % kWarp;
    auto *to = static_cast<bf16 *>(x) + head * kHeadDim;
    ML_UNROLL
    for (int half = 0; half < 2; half++) {
        const int64_t row = first + lane / 4 + half * 8;
        if (row >= count) continue;
        const float factor = half == 0 ? factor0 : factor1;
        ML_UNROLL
        for (int c = 0; c < kHeadDim / 8; c++) {
            *reinterpret_cast<uint32_t *>(to + (token0 + row) * stride + c * 8 + lane % 4 * 2) =
                pair_of(sum[c][half * 2] * factor, sum[c][half * 2 + 1] * factor);
        }
    }
}

// Value e of fragment j: row lane / 4 + 8 (e / 2) of the warp's 16, column 8 j + 2 (lane % 4) + e % 2.
__device__ inline int row_of(int e) { return static_cast<int>(threadIdx.x) % kWarp / 4 + e / 2 * 8; }
__device__ inline int column_of(int j, int e) { return j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + e % 2; }

template <int kHeadDim> __global__ void forward_kernel(const __grid_constant__ AttentionProblem p) {
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t i0 = at_tile.first, head = blockIdx.y, kv_head = head / (d.heads / d.kv_heads);
    if (i0 >= s.queries) return;
    ML_DYNAMIC_SHARED(bf16, shared);
    bf16 *q = shared, *k = q + kElements<kHeadDim>, *v = k + kElements<kHeadDim>;
    const int row = threadIdx.x / kWarp * 16;
    load_rows<kHeadDim>(q, d.q, s.q0, d.q_stride, head, i0, s.queries);
    float o[kHeadDim / 8][4], highest[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    clear(o);
    const KeyRange keys = keys_of_queries(d, s, i0, kTile);
    for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kTile) {
        load_rows<kHeadDim>(k, d.k, s.k0, d.kv_stride, kv_head, j0, s.keys);
        load_rows<kHeadDim>(v, d.v, s.k0, d.kv_stride, kv_head, j0, s.keys);
        wait_for_rows();
        float score[kTile / 8][4], most[2] = {-INFINITY, -INFINITY}, keep[2], sum[2] = {0, 0};
        clear(score);
        multiply_along<kHeadDim>(score, q, row, k);
        ML_UNROLL
        for (int j = 0; j < kTile / 8; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t at = i0 + row + row_of(e), key = j0 + column_of(j, e);
                const bool seen = at < s.queries && key < s.keys && sees(d, at + s.shift(), key);
                score[j][e] = seen ? score[j][e] * d.scale : -INFINITY;
                most[e / 2] = fmaxf(most[e / 2], score[j][e]);
            }
        }
        ML_UNROLL
        for (int half = 0; half < 2; half++) {
            const float now = fmaxf(highest[half], row_max(most[half]));
            keep[half] = highest[half] == -INFINITY ? 0.0f : expf(highest[half] - now);
            highest[half] = now;
        }
        ML_UNROLL
        for (int j = 0; j < kTile / 8; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                score[j][e] = score[j][e] == -INFINITY ? 0.0f : expf(score[j][e] - highest[e / 2]);
                sum[e / 2] += score[j][e];
            }
        }
        ML_UNROLL
        for (int half = 0; half < 2; half++) total[half] = total[half] * keep[half] + row_sum(sum[half]);
        ML_UNROLL
        for (int c = 0; c < kHeadDim / 8; c++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) o[c][e] *= keep[e / 2];
        }
        multiply_across<kHeadDim>(o, score, v);
        __syncthreads();  // the keys have been read
    }
    store_rows<kHeadDim>(d.o, o, s.q0, d.o_stride, head, i0 + row, s.queries, 1 / total[0], 1 / total[1]);
    if (d.lse != nullptr && threadIdx.x % 4 == 0) {
        for (int half = 0; half < 2; half++) {
            const int64_t at = i0 + row + row_of(half * 2);
            if (at < s.queries) d.lse[(s.q0 + at) * d.heads + head] = highest[half] + logf(total[half]);
        }
    }
}

template <int kHeadDim> __global__ void dq_kernel(const __grid_constant__ AttentionProblem p) {
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t i0 = at_tile.first, head = blockIdx.y, kv_head = head / (d.heads / d.kv_heads);
    if (i0 >= s.queries) return;
    const int64_t o_dense = d.heads * kHeadDim;
    ML_DYNAMIC_SHARED(bf16, shared);
    bf16 *q = shared, *d_o = q + kElements<kHeadDim>, *k = d_o + kElements<kHeadDim>, *v = k + kElements<kHeadDim>;
    const int row = threadIdx.x / kWarp * 16;
    load_rows<kHeadDim>(q, d.q, s.q0, d.q_stride, head, i0, s.queries);
    load_rows<kHeadDim>(d_o, d.d_o, s.q0, o_dense, head, i0, s.queries);
    float dq[kHeadDim / 8][4], lse[2], delta[2];
    clear(dq);
    for (int half = 0; half < 2; half++) {
        const int64_t at = i0 + row + row_of(half * 2);
        lse[half] = at < s.queries ? d.lse[(s.q0 + at) * d.heads + head] : 0.0f;
        delta[half] = at < s.queries ? p.delta[(s.q0 + at) * d.heads + head] : 0.0f;
    }
    const KeyRange keys = keys_of_queries(d, s, i0, kTile);
    for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kTile) {
        load_rows<kHeadDim>(k, d.k, s.k0, d.kv_stride, kv_head, j0, s.keys);
        load_rows<kHeadDim>(v, d.v, s.k0, d.kv_stride, kv_head, j0, s.keys);
        wait_for_rows();
        float score[kTile / 8][4], slope[kTile / 8][4];
        clear(score);
        clear(slope);
        multiply_along<kHeadDim>(score, q, row, k);
        multiply_along<kHeadDim>(slope, d_o, row, v);
        ML_UNROLL
        for (int j = 0; j < kTile / 8; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t at = i0 + row + row_of(e), key = j0 + column_of(j, e);
                const bool seen = at < s.queries && key < s.keys && sees(d, at + s.shift(), key);
                const float weight = seen ? expf(score[j][e] * d.scale - lse[e / 2]) : 0.0f;
                slope[j][e] = weight * (slope[j][e] - delta[e / 2]) * d.scale;
            }
        }
        multiply_across<kHeadDim>(dq, slope, k);
        __syncthreads();  // the keys have been read
    }
    store_rows<kHeadDim>(d.dq, dq, s.q0, d.q_stride, head, i0 + row, s.queries, 1, 1);
}

// A warp's 16 rows are keys here, and the columns of its scores are queries; fewer of them where two sums of a large head leave
// fewer registers.
template <int kHeadDim> __global__ void dk_dv_kernel(const __grid_constant__ AttentionProblem p) {
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t j0 = at_tile.first, kv_head = blockIdx.y, group = d.heads / d.kv_heads;
    if (j0 >= s.keys) return;
    const int64_t o_dense = d.heads * kHeadDim;
    constexpr int kQueries = kHeadDim > 96 ? kTile / 2 : kTile;
    ML_DYNAMIC_SHARED(bf16, shared);
    bf16 *k = shared, *v = k + kElements<kHeadDim>, *q = v + kElements<kHeadDim>, *d_o = q + kElements<kHeadDim>;
    auto *lse = reinterpret_cast<float *>(d_o + kElements<kHeadDim>), *delta = lse + kTile;
    const int row = threadIdx.x / kWarp * 16;
    load_rows<kHeadDim>(k, d.k, s.k0, d.kv_stride, kv_head, j0, s.keys);
    load_rows<kHeadDim>(v, d.v, s.k0, d.kv_stride, kv_head, j0, s.keys);
    float dk[kHeadDim / 8][4], dv[kHeadDim / 8][4];
    clear(dk);
    clear(dv);
    const int64_t end = end_of_queries(d, s, j0, kTile);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int64_t i0 = j0; i0 < end; i0 += kQueries) {
            load_rows<kHeadDim, kQueries>(q, d.q, s.q0, d.q_stride, head, i0, s.queries);
            load_rows<kHeadDim, kQueries>(d_o, d.d_o, s.q0, o_dense, head, i0, s.queries);
            if (threadIdx.x < kQueries) {
                const int64_t at = i0 + threadIdx.x;
                lse[threadIdx.x] = at < s.queries ? d.lse[(s.q0 + at) * d.heads + head] : 0.0f;
                delta[threadIdx.x] = at < s.queries ? p.delta[(s.q0 + at) * d.heads + head] : 0.0f;
            }
            wait_for_rows();
            float weight[kQueries / 8][4], slope[kQueries / 8][4];
            clear(weight);
            clear(slope);
            multiply_along<kHeadDim>(weight, k, row, q);
            multiply_along<kHeadDim>(slope, v, row, d_o);
            ML_UNROLL
            for (int j = 0; j < kQueries / 8; j++) {
                ML_UNROLL
                for (int e = 0; e < 4; e++) {
                    const int column = column_of(j, e);
                    const int64_t at = i0 + column, key = j0 + row + row_of(e);
                    const bool seen = at < s.queries && key < s.keys && sees(d, at, key);
                    weight[j][e] = seen ? expf(weight[j][e] * d.scale - lse[column]) : 0.0f;
                    slope[j][e] = weight[j][e] * (slope[j][e] - delta[column]) * d.scale;
                }
            }
            multiply_across<kHeadDim>(dv, weight, d_o);
            multiply_across<kHeadDim>(dk, slope, q);
            __syncthreads();  // the queries have been read
        }
    }
    store_rows<kHeadDim>(d.dk, dk, s.k0, d.kv_stride, kv_head, j0 + row, s.keys, 1, 1);
    store_rows<kHeadDim>(d.dv, dv, s.k0, d.kv_stride, kv_head, j0 + row, s.keys, 1, 1);
}

template <int kHeadDim> size_t shared_bytes(int tiles) { return static_cast<size_t>(tiles) * kElements<kHeadDim> * 2 + 2 * kTile * sizeof(float); }

template <int kHeadDim> cudaError_t forward(const AttentionProblem &p, cudaStream_t stream) {
    return launch(forward_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.heads), dim3(kThreads), shared_bytes<kHeadDim>(3), stream, p);
}

template <int kHeadDim> cudaError_t backward(const AttentionProblem &p, cudaStream_t stream) {
    const cudaError_t error = launch(dq_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.heads), dim3(kThreads), shared_bytes<kHeadDim>(4), stream, p);
    if (error != cudaSuccess) return error;
    return launch(dk_dv_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.kv_heads), dim3(kThreads), shared_bytes<kHeadDim>(4), stream, p);
}

}  // namespace

bool attention_fits_tensor_cores(const ml_attention_desc &d) {
    const bool size = d.head_dim == 64 || d.head_dim == 80 || d.head_dim == 96 || d.head_dim == 128;
    return size && packable<8>(d.q_stride | d.kv_stride | d.o_stride, d.q, d.k, d.v, d.o, d.d_o, d.dq, d.dk, d.dv);
}

cudaError_t attention_forward_tensor(const AttentionProblem &p, cudaStream_t stream) {
    switch (p.d.head_dim) {
        case 64: return forward<64>(p, stream);
        case 80: return forward<80>(p, stream);
        case 96: return forward<96>(p, stream);
        default: return forward<128>(p, stream);
    }
}

cudaError_t attention_backward_tensor(const AttentionProblem &p, cudaStream_t stream) {
    switch (p.d.head_dim) {
        case 64: return backward<64>(p, stream);
        case 80: return backward<80>(p, stream);
        case 96: return backward<96>(p, stream);
        default: return backward<128>(p, stream);
    }
}

}  // namespace cuda
}  // namespace metalora
