// A block takes kColumns of a term's columns of dY over the tokens of a part. Of each kTokens of them it adds to dB, which stays in
// registers, and writes what these columns give of u. Both are then summed up, each in a fixed order: dB over the parts of a slot's
// tokens, u over the columns' blocks of a term.
#include "cuda/adapter_backward.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kColumns = kAdapterColumns, kTokens = 64, kWarps = 4, kThreads = kWarps * kWarp, kPad = 8;
constexpr int kDyLine = kColumns + kPad;

template <int kRank> struct Shared {
    static constexpr int kLine = kRank + kPad;
    bf16 dy[2][kTokens * kDyLine], h[2][kTokens * kLine], b[kColumns * kLine];
};

// kRows lines of kWidth elements of a row-major matrix, zeros outside its rows and columns.
template <int kRows, int kWidth, int kLine>
__device__ inline void load_tile(bf16 *tile, const bf16 *from, int64_t stride, int64_t row0, int64_t rows, int64_t column0, int64_t columns) {
    constexpr int kChunks = kWidth / 8;
    for (int e = threadIdx.x; e < kRows * kChunks; e += kThreads) {
        const int line = e / kChunks, at = e % kChunks * 8;
        const bool valid = row0 + line < rows && column0 + at < columns;
        cp_async_16(tile + line * kLine + at, from + (valid ? (row0 + line) * stride + column0 + at : 0), valid);
    }
}

// Blocks are numbered term by term.
struct Columns {
    int term;
    int64_t first, begin;  // of the term's rows; of all terms' rows together, where the term begins
};

__device__ inline Columns columns_of_block(const AdapterBackward &p, int64_t block) {
    Columns c{0, 0, 0};
    for (; c.term + 1 < p.terms; c.term++) {
        const int64_t blocks = blocks_for(p.term[c.term].rows, kColumns);
        if (block < blocks) break;
        block -= blocks, c.begin += p.term[c.term].rows;
    }
    c.first = block * kColumns;
    return c;
}

template <int kRank> __global__ void dy_kernel(const __grid_constant__ AdapterBackward p, float *u_parts) {
    constexpr int kLine = Shared<kRank>::kLine, kN = kRank / 8, kM = kColumns / kWarps / 16;
    ML_DYNAMIC_SHARED(Shared<kRank>, s);
    check_slot_offsets(p.slot_offsets, p.slots, p.tokens, p.fault);
    const Part tokens = part_of(p.slot_offsets, p.slots, p.tokens, p.part, blockIdx.z);
    if (tokens.begin == tokens.end) return;
    const Columns at = columns_of_block(p, blockIdx.x);
    const AdapterBackward::Term &term = p.term[at.term];
    const int64_t column0 = at.first, ranks = p.terms * p.padded;
    const bf16 *dy_of_term = p.dy + term.first, *h_of_term = p.h + at.term * p.padded;
    const bf16 *b_of_term = static_cast<const bf16 *>(p.b.data) + tokens.slot * p.b.slot + term.first * p.b.row_stride + at.term * p.padded;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    auto fetch = [&](int64_t t, int stage) {
        if (t < tokens.end) {
            load_tile<kTokens, kColumns, kDyLine>(s->dy[stage], dy_of_term, p.dy_stride, t, tokens.end, column0, term.rows);
            load_tile<kTokens, kRank, kLine>(s->h[stage], h_of_term, ranks, t, tokens.end, 0, p.rank);
        }
        cp_async_commit();
    };
    load_tile<kColumns, kRank, kLine>(s->b, b_of_term, p.b.row_stride, column0, term.rows, 0, p.rank);
    fetch(tokens.begin, 0);
    float db[kM][kN][4];
    ML_UNROLL
    for (int i = 0; i < kM; i++) {
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) db[i][j][e] = 0;
        }
    }
    int stage = 0;
    for (int64_t t = tokens.begin; t < tokens.end; t += kTokens, stage ^= 1) {
        fetch(t + kTokens, stage ^ 1);
        cp_async_wait<1>();
        __syncthreads();  // this stage is there
        const bf16 *dy = s->dy[stage], *h = s->h[stage];

        // u of the warp's 16 tokens: dY along its columns, B along its ranks.
        float u[kN][4];
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) u[j][e] = 0;
        }
        for (int k = 0; k < kColumns; k += 16) {
            uint32_t left[4];
            ldmatrix_x4(left, dy + (warp * 16 + lane % 16) * kDyLine + k + lane / 16 * 8);
            ML_UNROLL
            for (int j = 0; j < kRank; j += 16) {
                uint32_t both[4];
                ldmatrix_x4_trans(both, s->b + (k + lane % 16) * kLine + j + lane / 16 * 8);
                mma_m16n8k16(u[j / 8], left, {both[0], both[1]});
                mma_m16n8k16(u[j / 8 + 1], left, {both[2], both[3]});
            }
        }
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t row = t + warp * 16 + lane / 4 + e / 2 * 8;
                const int r = j * 8 + lane % 4 * 2 + e % 2;
                if (row < tokens.end && r < p.rank) u_parts[(blockIdx.x * p.tokens + row) * p.rank + r] = u[j][e];
            }
        }

        // dB of the warp's columns: dY^T, both operands along the tokens.
        ML_UNROLL
        for (int k = 0; k < kTokens; k += 16) {
            uint32_t right[kN][2];
            ML_UNROLL
            for (int j = 0; j < kRank; j += 16) {
                uint32_t both[4];
                ldmatrix_x4_trans(both, h + (k + lane % 16) * kLine + j + lane / 16 * 8);
                right[j / 8][0] = both[0], right[j / 8][1] = both[1], right[j / 8 + 1][0] = both[2], right[j / 8 + 1][1] = both[3];
            }
            uint32_t left[kM][4];
            ML_UNROLL
            for (int i = 0; i < kM; i++) {
                ldmatrix_x4_trans(left[i], dy + (k + lane % 8 + lane / 16 * 8) * kDyLine + warp * (kColumns / kWarps) + i * 16 + lane / 8 % 2 * 8);
            }
            mma_m16n8k16(db, left, right);
        }
        __syncthreads();  // the stage has been read
    }
    float *out = p.db_parts + (blockIdx.z * p.rows() + at.begin) * p.rank;
    ML_UNROLL
    for (int i = 0; i < kM; i++) {
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t column = column0 + warp * (kColumns / kWarps) + i * 16 + lane / 4 + e / 2 * 8;
                const int r = j * 8 + lane % 4 * 2 + e % 2;
                if (column < term.rows && r < p.rank) out[column * p.rank + r] = db[i][j][e] * p.scale;
            }
        }
    }
}

// u = the sum over the columns' blocks of its term, zeros behind the rank; and dB += the sum over the parts of a slot.
__global__ void add_kernel(const __grid_constant__ AdapterBackward p, const float *u_parts) {
    const int64_t values = p.tokens * p.terms * p.padded, rows = p.rows(), each = rows * p.rank;
    int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < values) {
        const int64_t token = i / (p.terms * p.padded), column = i % (p.terms * p.padded), term = column / p.padded, r = column % p.padded;
        int64_t block = 0;
        for (int64_t t = 0; t < term; t++) block += blocks_for(p.term[t].rows, kColumns);
        const int64_t end = block + blocks_for(p.term[term].rows, kColumns);
        float sum = 0;
        for (; r < p.rank && block < end; block++) sum += u_parts[(block * p.tokens + token) * p.rank + r];
        if (p.full_u != nullptr) p.full_u[i] = sum;
        else store_low(p.u, p.slot_offsets, p.slots, p.tokens, token, column, sum);
        return;
    }
    i -= values;
    if (i >= p.slots * each) return;
    const int64_t slot = i / each, r = i % p.rank;
    const Segment tokens = segment_of(p.slot_offsets, slot, p.tokens);
    if (tokens.begin == tokens.end) return;
    const float *parts = p.db_parts + first_part(tokens.begin, slot, p.part) * each + i % each;
    float sum = 0;
    for (int64_t at = tokens.begin; at < tokens.end; at += p.part, parts += each) sum += *parts;
    int64_t row = i % each / p.rank, term = 0;
    for (; row >= p.term[term].rows; term++) row -= p.term[term].rows;
    p.term[term].db[slot * p.slot_stride + row * p.rank + r] += sum;
}

template <int kRank> cudaError_t run(State &s, const AdapterBackward &p) {
    int64_t blocks = 0;
    for (int64_t t = 0; t < p.terms; t++) blocks += blocks_for(p.term[t].rows, kColumns);
    auto *u_parts = s.take<float>(blocks * p.tokens * p.rank);
    const Grid grid(blocks, 1, p.tokens / p.part + p.slots);
    const cudaError_t error = launch(dy_kernel<kRank>, grid, dim3(kThreads), sizeof(Shared<kRank>), s.stream, p, u_parts);
    if (error != cudaSuccess) return error;
    const int64_t values = p.tokens * p.terms * p.padded + p.slots * p.rows() * p.rank;
    return launch(add_kernel, Grid(blocks_for(values, kThreads)), dim3(kThreads), 0, s.stream, p, u_parts);
}

}  // namespace

cudaError_t adapter_backward(State &s, const AdapterBackward &p) { return p.rank <= 16 ? run<16>(s, p) : run<32>(s, p); }

}  // namespace cuda
}  // namespace metalora
