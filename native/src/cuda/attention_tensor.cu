// Attention on tensor cores, for bf16 and the usual head sizes: the same walk over tiles as attention.cu, with 64 queries, or
// keys, a block and 16 of them a warp. Scores, weights and sums are float; weights are rounded to bf16 where they meet v. The
// tiles that a block walks over come through a ring in shared memory, loaded while earlier ones are multiplied.
#include "cuda/attention.h"

namespace metalora {
namespace cuda {

namespace {

// A block of kTile queries, or keys. Backward it walks over the others in steps of kStep, as it has two tiles of scores in registers.
constexpr int kTile = 64, kStep = 32, kWarps = 4, kThreads = kWarps * kWarp;

// Shared memory of a tile: rows of kHeadDim and 16 bytes, so that the rows of a fragment lie in different banks.
template <int kHeadDim> constexpr int kLine = kHeadDim + 8;
template <int kHeadDim, int kRows = kTile> constexpr int kElements = kRows * kLine<kHeadDim>;

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// Blocks that have to fit a multiprocessor together, as far as registers go.
template <int kHeadDim> constexpr int kForwardBlocks = kHeadDim == 64 ? 4 : 3;
template <int kHeadDim> constexpr int kDqBlocks = kHeadDim == 64 ? 4 : kHeadDim == 128 ? 2 : 3;
template <int kHeadDim> constexpr int kDkDvBlocks = kHeadDim == 128 ? 2 : 3;

// A sequence's rows of q, k, v or their like. kAcross threads share a row, in pieces of 16 bytes: the power of two that divides
// it, so that every thread has the same number of pieces, at the same distances.
template <int kHeadDim> class Rows {
public:
    __device__ Rows(const void *x, int64_t token0, int64_t count, int64_t stride)
        : from_(static_cast<const bf16 *>(x) + (token0 + row()) * stride + column()), stride_(stride), count_(static_cast<int>(count)) {}

    // Starts loading kRows rows of a head from `first` on; zeros from the sequence's end on.
    template <int kRows> __device__ void load(bf16 *tile, int head, int first) const {
        static_assert(kRows % kDown == 0 || kRows < kDown, "whole passes");
        if (kRows < kDown && row() >= kRows) return;  // whole warps
        const bf16 *from = from_ + first * stride_ + head * kHeadDim;
        bf16 *to = tile + row() * kLine<kHeadDim> + column();
        const int rows = count_ - first - row();
        ML_UNROLL
        for (int r = 0; r < kRows; r += kDown, from += kDown * stride_) {
            ML_UNROLL
            for (int c = 0; c < kHeadDim; c += kAcross * 8) cp_async_16(to + r * kLine<kHeadDim> + c, from + c, r < rows);
        }
    }

private:
    static constexpr int kChunks = kHeadDim / 8, kAcross = kChunks & -kChunks, kDown = kThreads / kAcross;
    static __device__ int row() { return static_cast<int>(threadIdx.x) / kAcross; }
    static __device__ int column() { return static_cast<int>(threadIdx.x) % kAcross * 8; }
    const bf16 *from_;  // of this thread, in row 0
    int64_t stride_;
    int count_;
};

// A warp's 16 rows of a tile as left operands.
template <int kHeadDim> using Fragments = uint32_t[kHeadDim / 16][4];

template <int kHeadDim> __device__ inline void read_fragment(uint32_t (&left)[4], const bf16 *a, int row, int k) {
    const int lane = threadIdx.x % kWarp;
    ldmatrix_x4(left, a + (row + lane % 16) * kLine<kHeadDim> + k + lane / 16 * 8);
}

template <int kHeadDim> __device__ inline void read_fragments(Fragments<kHeadDim> &left, const bf16 *a, int row) {
    ML_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) read_fragment<kHeadDim>(left[k / 16], a, row, k);
}

// sum[16, 8 N] += left[16, 16] b[8 N, k .. k + 16]^T.
template <int kHeadDim, int N> __device__ inline void multiply_along(float (&sum)[N][4], const uint32_t (&left)[4], const bf16 *b, int k) {
    const int lane = threadIdx.x % kWarp;
    ML_UNROLL
    for (int j = 0; j < N * 8; j += 16) {
        uint32_t both[4];
        ldmatrix_x4(both, b + (j + lane % 8 + lane / 16 * 8) * kLine<kHeadDim> + k + lane / 8 % 2 * 8);
        mma_m16n8k16(sum[j / 8], left, {both[0], both[1]});
        mma_m16n8k16(sum[j / 8 + 1], left, {both[2], both[3]});
    }
}

// sum[16, 8 N] += left[16, kHeadDim] b[8 N, kHeadDim]^T.
template <int kHeadDim, int N> __device__ inline void multiply_along(float (&sum)[N][4], const Fragments<kHeadDim> &left, const bf16 *b) {
    ML_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) multiply_along<kHeadDim>(sum, left[k / 16], b, k);
}

// The same with the left operand in shared memory, rows `row` on of a.
template <int kHeadDim, int N> __device__ inline void multiply_along(float (&sum)[N][4], const bf16 *a, int row, const bf16 *b) {
    ML_UNROLL
    for (int k = 0; k < kHeadDim; k += 16) {
        uint32_t left[4];
        read_fragment<kHeadDim>(left, a, row, k);
        multiply_along<kHeadDim>(sum, left, b, k);
    }
}

// sum[16, kHeadDim] += weights[16, 8 N] b[8 N, kHeadDim]. What a product of fragments left in registers is the left operand
// of the next one as it lies there.
template <int kHeadDim, int N>
__device__ inline void multiply_across(float (&sum)[kHeadDim / 8][4], const float (&weights)[N][4], const bf16 *b) {
    const int lane = threadIdx.x % kWarp;
    ML_UNROLL
    for (int k = 0; k < N * 8; k += 16) {
        const auto &low = weights[k / 8], &high = weights[k / 8 + 1];
        const uint32_t left[4] = {bf16_pair(low[0], low[1]), bf16_pair(low[2], low[3]), bf16_pair(high[0], high[1]), bf16_pair(high[2], high[3])};
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
                bf16_pair(sum[c][half * 2] * factor, sum[c][half * 2 + 1] * factor);
        }
    }
}

// Value e of fragment j: row lane / 4 + 8 (e / 2) of the warp's 16, column 8 j + 2 (lane % 4) + e % 2.
__device__ inline int row_of(int e) { return static_cast<int>(threadIdx.x) % kWarp / 4 + e / 2 * 8; }
__device__ inline int column_of(int j, int e) { return j * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + e % 2; }

// What a warp sees of a tile of scores: in row r the columns [first + r, first + r + width).
struct Band {
    int first, width;
    __device__ bool none(int columns) const { return first + 15 + width <= 0 || first >= columns; }
    __device__ bool all(int columns) const { return first + 15 <= 0 && first + width >= columns; }
    __device__ bool sees(int j, int e) const {
        const int from = column_of(j, e) - row_of(e) - first;
        return static_cast<unsigned>(from) < static_cast<unsigned>(width);  // nor below 0
    }
};

// The window in keys, all of the sequence's where there is none: positions fit 32 bits, as the offsets do.
__device__ inline int band_width(const ml_attention_desc &d, const AttentionSequence &s) {
    return static_cast<int>(d.window > 0 && d.window < s.keys ? d.window : s.keys);
}

// The last queries come first, as they see the most keys: a launch ends with short blocks.
__device__ inline AttentionBlock block_of_queries(const ml_attention_desc &d) {
    const AttentionBlock block = attention_block(d, kTile);
    return {block.sequence, (blocks_for(d.max_length, kTile) - 1) * kTile - block.first};
}

__device__ inline int group_size(const ml_attention_desc &d) { return static_cast<int>(d.heads / d.kv_heads); }

// Scores become -inf where they are not seen. The sequence's end needs no more than that: a row behind it is not stored, a key
// behind it comes after every query, and a query behind it is all zeros, with statistics of zero.
template <int N> __device__ inline void hide(float (&score)[N][4], const Band &band) {
    if (band.all(N * 8)) return;
    ML_UNROLL
    for (int j = 0; j < N; j++) {
        ML_UNROLL
        for (int e = 0; e < 4; e++) {
            if (!band.sees(j, e)) score[j][e] = -INFINITY;
        }
    }
}

// Keys and values pass through a ring of three tiles, two of them under way while the third is multiplied; q comes through the
// third one and stays in registers.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kForwardBlocks<kHeadDim>) forward_kernel(const __grid_constant__ AttentionProblem p) {
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = block_of_queries(d);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int head = blockIdx.y, kv_head = head / group_size(d);
    if (at_tile.first >= s.queries) return;
    ML_DYNAMIC_SHARED(bf16, shared);
    bf16 *k = shared, *v = k + kElements<kHeadDim>, *next = v + kElements<kHeadDim>;
    const Rows<kHeadDim> keys(d.k, s.k0, s.keys, d.kv_stride), values(d.v, s.k0, s.keys, d.kv_stride);
    const KeyRange range = keys_of_queries(d, s, at_tile.first, kTile);
    const int i0 = static_cast<int>(at_tile.first), end = static_cast<int>(range.end), row = threadIdx.x / kWarp * 16;
    int j0 = static_cast<int>(range.begin);
    Rows<kHeadDim>(d.q, s.q0, s.queries, d.q_stride).template load<kTile>(next, head, i0);
    keys.template load<kTile>(k, kv_head, j0);
    cp_async_commit();
    values.template load<kTile>(v, kv_head, j0);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();  // q is there
    Fragments<kHeadDim> q;
    read_fragments<kHeadDim>(q, next, row);
    const int width = band_width(d, s), first = i0 + row + static_cast<int>(s.shift()) - width + 1;
    const float scale = d.scale * kLog2E;
    float o[kHeadDim / 8][4], highest[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    clear(o);
    for (; j0 < end; j0 += kTile) {
        cp_async_wait<1>();
        __syncthreads();  // the keys are there, and what `next` held has been read
        if (j0 + kTile < end) keys.template load<kTile>(next, kv_head, j0 + kTile);
        cp_async_commit();  // also an empty group, as the waits count them
        float score[kTile / 8][4], shift[2], keep[2], sum[2] = {0, 0};
        clear(score);
        multiply_along<kHeadDim>(score, q, k);
        cp_async_wait<1>();
        __syncthreads();  // the values are there, and the keys have been read
        if (j0 + kTile < end) values.template load<kTile>(k, kv_head, j0 + kTile);
        cp_async_commit();
        hide(score, {first - j0, width});
        ML_UNROLL
        for (int half = 0; half < 2; half++) {
            float most = -INFINITY;
            ML_UNROLL
            for (int j = 0; j < kTile / 8; j++) most = fmaxf(most, fmaxf(score[j][half * 2], score[j][half * 2 + 1]));
            const float now = fmaxf(highest[half], row_max(most) * scale);
            shift[half] = now == -INFINITY ? 0.0f : -now;  // no key seen yet
            keep[half] = exp2_approximate(highest[half] + shift[half]);
            highest[half] = now;
        }
        ML_UNROLL
        for (int j = 0; j < kTile / 8; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                score[j][e] = exp2_approximate(fmaf(score[j][e], scale, shift[e / 2]));
                sum[e / 2] += score[j][e];
            }
        }
        ML_UNROLL
        for (int half = 0; half < 2; half++) total[half] = total[half] * keep[half] + sum[half];
        ML_UNROLL
        for (int c = 0; c < kHeadDim / 8; c++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) o[c][e] *= keep[e / 2];
        }
        multiply_across<kHeadDim>(o, score, v);
        bf16 *read = v;
        v = k, k = next, next = read;
    }
    ML_UNROLL
    for (int half = 0; half < 2; half++) total[half] = row_sum(total[half]);
    store_rows<kHeadDim>(d.o, o, s.q0, d.o_stride, head, i0 + row, s.queries, 1 / total[0], 1 / total[1]);
    if (d.lse != nullptr && threadIdx.x % 4 == 0) {
        for (int half = 0; half < 2; half++) {
            const int64_t at = i0 + row + row_of(half * 2);
            if (at < s.queries) d.lse[(s.q0 + at) * d.heads + head] = (highest[half] + log2f(total[half])) * kLn2;
        }
    }
}

// q and d_o stay in registers. Keys and values are loaded two tiles ahead, in a ring of three; q and d_o come through the last
// two of them.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kDqBlocks<kHeadDim>) dq_kernel(const __grid_constant__ AttentionProblem p) {
    constexpr int kStage = 2 * kElements<kHeadDim, kStep>;
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = block_of_queries(d);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int head = blockIdx.y, kv_head = head / group_size(d);
    if (at_tile.first >= s.queries) return;
    ML_DYNAMIC_SHARED(bf16, shared);
    const Rows<kHeadDim> keys(d.k, s.k0, s.keys, d.kv_stride), values(d.v, s.k0, s.keys, d.kv_stride);
    const KeyRange range = keys_of_queries(d, s, at_tile.first, kTile);
    const int i0 = static_cast<int>(at_tile.first), end = static_cast<int>(range.end), row = threadIdx.x / kWarp * 16;
    int j0 = static_cast<int>(range.begin);
    auto fetch = [&](int stage, int j) {
        if (j < end) {
            keys.template load<kStep>(shared + stage * kStage, kv_head, j);
            values.template load<kStep>(shared + stage * kStage + kStage / 2, kv_head, j);
        }
        cp_async_commit();  // also an empty group, as the waits count them
    };
    bf16 *rows = shared + kStage;
    Rows<kHeadDim>(d.q, s.q0, s.queries, d.q_stride).template load<kTile>(rows, head, i0);
    Rows<kHeadDim>(d.d_o, s.q0, s.queries, d.heads * kHeadDim).template load<kTile>(rows + kElements<kHeadDim>, head, i0);
    cp_async_commit();
    fetch(0, j0);
    float dq[kHeadDim / 8][4], lse[2], delta[2];
    clear(dq);
    for (int half = 0; half < 2; half++) {
        const int64_t at = i0 + row + row_of(half * 2);
        lse[half] = at < s.queries ? d.lse[(s.q0 + at) * d.heads + head] * kLog2E : 0.0f;
        delta[half] = at < s.queries ? p.delta[(s.q0 + at) * d.heads + head] : 0.0f;
    }
    cp_async_wait<1>();
    __syncthreads();  // q and d_o are there
    Fragments<kHeadDim> q, d_o;
    read_fragments<kHeadDim>(q, rows, row);
    read_fragments<kHeadDim>(d_o, rows + kElements<kHeadDim>, row);
    __syncthreads();  // and have been read
    fetch(1, j0 + kStep);
    const int width = band_width(d, s), first = i0 + row + static_cast<int>(s.shift()) - width + 1;
    const float scale = d.scale * kLog2E;
    for (int stage = 0; j0 < end; j0 += kStep, stage = stage == 2 ? 0 : stage + 1) {
        cp_async_wait<1>();
        __syncthreads();  // the stage is there, and the one before it has been read
        fetch(stage == 0 ? 2 : stage - 1, j0 + 2 * kStep);
        const Band band{first - j0, width};
        if (band.none(kStep)) continue;
        const bf16 *k = shared + stage * kStage, *v = k + kStage / 2;
        float score[kStep / 8][4], slope[kStep / 8][4];
        clear(score);
        clear(slope);
        multiply_along<kHeadDim>(score, q, k);
        multiply_along<kHeadDim>(slope, d_o, v);
        hide(score, band);
        ML_UNROLL
        for (int j = 0; j < kStep / 8; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) slope[j][e] = exp2_approximate(fmaf(score[j][e], scale, -lse[e / 2])) * (slope[j][e] - delta[e / 2]);
        }
        multiply_across<kHeadDim>(dq, slope, k);
    }
    store_rows<kHeadDim>(d.dq, dq, s.q0, d.q_stride, head, i0 + row, s.queries, d.scale, d.scale);
}

// Statistics of queries 2 i and 2 i + 1, which are neighbours in a fragment; lse in powers of two.
struct alignas(16) Statistics {
    float lse[2], delta[2];
};

// A warp's 16 rows are keys here, and the columns of its scores are queries: two stages of them, of one head of the group after
// the other.
template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kDkDvBlocks<kHeadDim>) dk_dv_kernel(const __grid_constant__ AttentionProblem p) {
    constexpr int kStage = kElements<kHeadDim, kStep>;
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int kv_head = blockIdx.y, first_head = kv_head * group_size(d), behind = first_head + group_size(d);
    if (at_tile.first >= s.keys) return;
    ML_DYNAMIC_SHARED(bf16, shared);
    bf16 *k = shared, *v = k + kElements<kHeadDim>, *q = v + kElements<kHeadDim>, *d_o = q + 2 * kStage;
    auto *statistics = reinterpret_cast<Statistics *>(d_o + 2 * kStage);
    const Rows<kHeadDim> queries(d.q, s.q0, s.queries, d.q_stride), slopes(d.d_o, s.q0, s.queries, d.heads * kHeadDim);
    const int j0 = static_cast<int>(at_tile.first), end = static_cast<int>(end_of_queries(d, s, j0, kTile)), row = threadIdx.x / kWarp * 16;
    auto fetch = [&](int stage, int head, int i0) {
        queries.template load<kStep>(q + stage * kStage, head, i0);
        slopes.template load<kStep>(d_o + stage * kStage, head, i0);
        cp_async_commit();
    };
    // A thread has one number of the statistics, which waits in a register for its stage.
    const int mine = threadIdx.x % kStep;
    const bool has_lse = threadIdx.x < kStep, has_any = threadIdx.x < 2 * kStep;
    auto statistic = [&](int head, int i0) {
        if (!has_any || i0 + mine >= s.queries) return 0.0f;
        const int64_t at = (s.q0 + i0 + mine) * d.heads + head;
        return has_lse ? d.lse[at] * kLog2E : p.delta[at];
    };
    auto keep = [&](int stage, float x) {
        Statistics &to = statistics[stage * kStep / 2 + mine / 2];
        if (has_any) (has_lse ? to.lse : to.delta)[mine % 2] = x;
    };
    Rows<kHeadDim>(d.k, s.k0, s.keys, d.kv_stride).template load<kTile>(k, kv_head, j0);
    Rows<kHeadDim>(d.v, s.k0, s.keys, d.kv_stride).template load<kTile>(v, kv_head, j0);
    fetch(0, first_head, j0);
    keep(0, statistic(first_head, j0));
    float dk[kHeadDim / 8][4], dv[kHeadDim / 8][4];
    clear(dk);
    clear(dv);
    const int width = band_width(d, s);
    const float scale = d.scale * kLog2E;
    int stage = 0;
    for (int head = first_head; head < behind; head++) {
        for (int i0 = j0; i0 < end; i0 += kStep, stage ^= 1) {
            cp_async_wait<0>();
            __syncthreads();  // the stage is there, and the other one has been read
            const bool last = i0 + kStep >= end;
            const int next_head = last ? head + 1 : head;
            float next = 0;
            if (next_head < behind) {
                const int next_i0 = last ? j0 : i0 + kStep;
                fetch(stage ^ 1, next_head, next_i0);
                next = statistic(next_head, next_i0);
            }
            const Band band{j0 + row - i0, width};
            if (!band.none(kStep)) {
                const bf16 *q_now = q + stage * kStage, *d_o_now = d_o + stage * kStage;
                float weight[kStep / 8][4], slope[kStep / 8][4];
                clear(weight);
                clear(slope);
                multiply_along<kHeadDim>(weight, k, row, q_now);
                multiply_along<kHeadDim>(slope, v, row, d_o_now);
                hide(weight, band);
                ML_UNROLL
                for (int j = 0; j < kStep / 8; j++) {
                    const Statistics now = statistics[(stage * kStep + column_of(j, 0)) / 2];
                    ML_UNROLL
                    for (int e = 0; e < 4; e++) {
                        weight[j][e] = exp2_approximate(fmaf(weight[j][e], scale, -now.lse[e % 2]));
                        slope[j][e] = weight[j][e] * (slope[j][e] - now.delta[e % 2]);
                    }
                }
                multiply_across<kHeadDim>(dv, weight, d_o_now);
                multiply_across<kHeadDim>(dk, slope, q_now);
            }
            keep(stage ^ 1, next);
        }
    }
    store_rows<kHeadDim>(d.dk, dk, s.k0, d.kv_stride, kv_head, j0 + row, s.keys, d.scale, d.scale);
    store_rows<kHeadDim>(d.dv, dv, s.k0, d.kv_stride, kv_head, j0 + row, s.keys, 1, 1);
}

template <int kHeadDim> cudaError_t forward(const AttentionProblem &p, cudaStream_t stream) {
    return launch(forward_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.heads), dim3(kThreads), 3 * kElements<kHeadDim> * sizeof(bf16), stream, p);
}

template <int kHeadDim> cudaError_t backward(const AttentionProblem &p, cudaStream_t stream) {
    const cudaError_t error = launch(dq_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.heads), dim3(kThreads),
                                     3 * 2 * kElements<kHeadDim, kStep> * sizeof(bf16), stream, p);
    if (error != cudaSuccess) return error;
    constexpr size_t kShared = (2 * kElements<kHeadDim> + 4 * kElements<kHeadDim, kStep>) * sizeof(bf16) + kStep * sizeof(Statistics);
    static_assert(kShared <= 99 * 1024, "what a block of every device that has these tensor cores can ask for");
    return launch(dk_dv_kernel<kHeadDim>, attention_grid(p.d, kTile, p.d.kv_heads), dim3(kThreads), kShared, stream, p);
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
