// A block takes kColumns of dY's columns over the tokens of a part. Of each kTokens of them it adds to dB, which stays in
// registers, and writes what these columns give of u, which is then summed over the columns' blocks in their order.
#include "cuda/adapter_backward.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kColumns = 256, kTokens = 64, kWarps = 4, kThreads = kWarps * kWarp, kPad = 8;
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

template <int kRank> __global__ void dy_kernel(const __grid_constant__ AdapterBackward p, float *u_parts) {
    constexpr int kLine = Shared<kRank>::kLine, kN = kRank / 8, kM = kColumns / kWarps / 16;
    ML_DYNAMIC_SHARED(Shared<kRank>, s);
    Product offsets;  // which tokens a part has
    offsets.slot_offsets = p.slot_offsets, offsets.slots = p.slots, offsets.tokens = p.tokens, offsets.part = p.part, offsets.fault = p.fault;
    if (blockIdx.z == 0) check_slot_offsets(offsets);
    const Part tokens = part_of(offsets, blockIdx.z);
    if (tokens.begin == tokens.end) return;
    const int64_t column0 = static_cast<int64_t>(blockIdx.x) * kColumns;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    auto fetch = [&](int64_t t, int stage) {
        if (t < tokens.end) {
            load_tile<kTokens, kColumns, kDyLine>(s->dy[stage], p.dy, p.dy_stride, t, tokens.end, column0, p.out);
            load_tile<kTokens, kRank, kLine>(s->h[stage], p.h, p.h_stride, t, tokens.end, 0, p.rank);
        }
        cp_async_commit();
    };
    load_tile<kColumns, kRank, kLine>(s->b, p.b + tokens.slot * p.b_slot, p.h_stride, column0, p.out, 0, p.rank);
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
    float *out = p.db_parts + blockIdx.z * p.out * p.rank;
    ML_UNROLL
    for (int i = 0; i < kM; i++) {
        ML_UNROLL
        for (int j = 0; j < kN; j++) {
            ML_UNROLL
            for (int e = 0; e < 4; e++) {
                const int64_t column = column0 + warp * (kColumns / kWarps) + i * 16 + lane / 4 + e / 2 * 8;
                const int r = j * 8 + lane % 4 * 2 + e % 2;
                if (column < p.out && r < p.rank) out[column * p.rank + r] = db[i][j][e] * p.scale;
            }
        }
    }
}

// u = the sum over the columns' blocks, rounded, zeros behind the rank.
__global__ void add_u_kernel(const float *u_parts, bf16 *u, int64_t tokens, int64_t rank, int64_t padded, int64_t stride, int64_t blocks) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= tokens * padded) return;
    const int64_t token = i / padded, r = i % padded;
    float sum = 0;
    for (int64_t block = 0; r < rank && block < blocks; block++) sum += u_parts[(block * tokens + token) * rank + r];
    u[token * stride + r] = to_bf16(sum);
}

template <int kRank> cudaError_t run(State &s, const AdapterBackward &p) {
    const int64_t blocks = blocks_for(p.out, kColumns);
    auto *u_parts = s.take<float>(blocks * p.tokens * p.rank);
    const Grid grid(blocks, 1, p.tokens / p.part + p.slots);
    const cudaError_t error = launch(dy_kernel<kRank>, grid, dim3(kThreads), sizeof(Shared<kRank>), s.stream, p, u_parts);
    if (error != cudaSuccess) return error;
    const int64_t padded = round_up(p.rank, 8);
    return launch(add_u_kernel, Grid(blocks_for(p.tokens * padded, kThreads)), dim3(kThreads), 0, s.stream, u_parts, p.u, p.tokens, p.rank,
                  padded, p.h_stride, blocks);
}

}  // namespace

cudaError_t adapter_backward(State &s, const AdapterBackward &p) { return p.rank <= 16 ? run<16>(s, p) : run<32>(s, p); }

}  // namespace cuda
}  // namespace metalora
