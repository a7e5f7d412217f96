// Causal grouped-query attention over packed sequences: online softmax forward (Milakov and Gimelshein 2018; Dao 2022), and a
// backward that recomputes the weights from the log-sum-exp. In float, for any head_dim up to kMostHeadDim; bf16 heads of the
// usual sizes go to tensor cores (attention_tensor.cu). dq comes from one kernel, which walks the keys of a query tile, dk and
// dv from another, which walks the queries of a key tile over all heads of the group: nothing is added to by two blocks, so
// that runs repeat bit for bit.
#include "cuda/attention.h"
#include "cuda/kernels.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 128;
// kTile: queries, and keys, of a tile; the smaller one is for large heads on devices with less shared memory.
constexpr int kLargeTile = 32, kSmallTile = 16;
template <int kTile> constexpr int kLanesOf = kThreads / kTile;  // threads that share a row of a tile; neighbours in a warp
constexpr int64_t kMostHeadDim = 256;  // whose small tiles fit the 99 KiB that every device has

// tile[i][c] = rows [first, first + kTile) of x, zeros from `count` on.
template <class T, int kTile>
__device__ inline void load_rows(float *tile, const void *x, int64_t token0, int64_t stride, int64_t head, int head_dim, int64_t first,
                                 int64_t count) {
    const auto *from = static_cast<const T *>(x);
    for (int e = threadIdx.x; e < kTile * head_dim; e += kThreads) {
        const int row = e / head_dim, c = e % head_dim;
        tile[row * (head_dim + 1) + c] = first + row < count ? to_float(from[(token0 + first + row) * stride + head * head_dim + c]) : 0.0f;
    }
}

__device__ inline float dot(const float *a, const float *b, int n) {
    float sum = 0;
    for (int c = 0; c < n; c++) sum += a[c] * b[c];
    return sum;
}

template <int kLanes> __device__ inline float row_max(float x) {
    for (int offset = kLanes / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(kFullMask, x, offset));
    return x;
}

template <int kLanes> __device__ inline float row_sum(float x) {
    for (int offset = kLanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(kFullMask, x, offset);
    return x;
}

template <class T, int kTile> __global__ void forward_kernel(const __grid_constant__ AttentionProblem p) {
    constexpr int kLanes = kLanesOf<kTile>, kEach = kTile / kLanes;  // kEach: of a row's columns
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t i0 = at_tile.first, head = blockIdx.y, kv_head = head / (d.heads / d.kv_heads);
    if (i0 >= s.queries) return;
    const int head_dim = static_cast<int>(d.head_dim), line = head_dim + 1;
    ML_DYNAMIC_SHARED(float, shared);
    float *q = shared, *k = q + kTile * line, *v = k + kTile * line, *o = v + kTile * line, *weights = o + kTile * line;
    const int row = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    load_rows<T, kTile>(q, d.q, s.q0, d.q_stride, head, head_dim, i0, s.queries);
    for (int c = lane; c < head_dim; c += kLanes) o[row * line + c] = 0;
    const int64_t position = i0 + row + s.shift();
    const bool present = i0 + row < s.queries;
    float highest = -INFINITY, total = 0;
    const KeyRange keys = keys_of_queries(d, s, i0, kTile);
    for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kTile) {
        __syncthreads();  // the keys before have been read
        load_rows<T, kTile>(k, d.k, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
        load_rows<T, kTile>(v, d.v, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
        __syncthreads();
        float score[kEach], most = -INFINITY;
        for (int e = 0; e < kEach; e++) {
            const int j = lane + e * kLanes;
            const bool seen = present && j0 + j < s.keys && sees(d, position, j0 + j);
            score[e] = seen ? d.scale * dot(q + row * line, k + j * line, head_dim) : -INFINITY;
            most = fmaxf(most, score[e]);
        }
        const float now = fmaxf(highest, row_max<kLanes>(most));
        const float keep = highest == -INFINITY ? 0.0f : expf(highest - now);
        float sum = 0;
        for (int e = 0; e < kEach; e++) {
            score[e] = score[e] == -INFINITY ? 0.0f : expf(score[e] - now);
            sum += score[e];
        }
        total = total * keep + row_sum<kLanes>(sum);
        highest = now;
        for (int e = 0; e < kEach; e++) weights[row * (kTile + 1) + lane + e * kLanes] = score[e];
        __syncwarp();  // the row's weights are there
        for (int c = lane; c < head_dim; c += kLanes) {
            float value = o[row * line + c] * keep;
            for (int j = 0; j < kTile; j++) value += weights[row * (kTile + 1) + j] * v[j * line + c];
            o[row * line + c] = value;
        }
    }
    if (!present) return;
    const int64_t at = (s.q0 + i0 + row) * d.heads + head;
    for (int c = lane; c < head_dim; c += kLanes) {
        static_cast<T *>(d.o)[(s.q0 + i0 + row) * d.o_stride + head * head_dim + c] = from_float<T>(o[row * line + c] / total);
    }
    if (d.lse != nullptr && lane == 0) d.lse[at] = highest + logf(total);
}

// A warp a row: delta = dO . O
template <class T>
__global__ void delta_kernel(const T *o, int64_t o_stride, const T *d_o, float *delta, int64_t rows, int heads, int head_dim) {
    const int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
    if (row >= rows) return;
    const T *out = o + row / heads * o_stride + row % heads * head_dim, *grad = d_o + row * head_dim;
    float sum = 0;
    for (int c = threadIdx.x % kWarp; c < head_dim; c += kWarp) sum += to_float(out[c]) * to_float(grad[c]);
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp == 0) delta[row] = sum;
}

template <class T, int kTile> __global__ void dq_kernel(const __grid_constant__ AttentionProblem p) {
    constexpr int kLanes = kLanesOf<kTile>, kEach = kTile / kLanes;  // kEach: of a row's columns
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t i0 = at_tile.first, head = blockIdx.y, kv_head = head / (d.heads / d.kv_heads);
    if (i0 >= s.queries) return;
    const int head_dim = static_cast<int>(d.head_dim), line = head_dim + 1;
    const int64_t o_dense = d.heads * d.head_dim;
    ML_DYNAMIC_SHARED(float, shared);
    float *q = shared, *d_o = q + kTile * line, *k = d_o + kTile * line, *v = k + kTile * line, *dq = v + kTile * line;
    float *slopes = dq + kTile * line;
    const int row = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
    load_rows<T, kTile>(q, d.q, s.q0, d.q_stride, head, head_dim, i0, s.queries);
    load_rows<T, kTile>(d_o, d.d_o, s.q0, o_dense, head, head_dim, i0, s.queries);
    for (int c = lane; c < head_dim; c += kLanes) dq[row * line + c] = 0;
    const bool present = i0 + row < s.queries;
    const int64_t position = i0 + row, at = (s.q0 + i0 + row) * d.heads + head;
    const float lse = present ? d.lse[at] : 0.0f, delta = present ? p.delta[at] : 0.0f;
    const KeyRange keys = keys_of_queries(d, s, i0, kTile);
    for (int64_t j0 = keys.begin; j0 < keys.end; j0 += kTile) {
        __syncthreads();  // the keys before have been read
        load_rows<T, kTile>(k, d.k, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
        load_rows<T, kTile>(v, d.v, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
        __syncthreads();
        for (int e = 0; e < kEach; e++) {
            const int j = lane + e * kLanes;
            float slope = 0;
            if (present && j0 + j < s.keys && sees(d, position, j0 + j)) {
                const float weight = expf(d.scale * dot(q + row * line, k + j * line, head_dim) - lse);
                slope = weight * (dot(d_o + row * line, v + j * line, head_dim) - delta) * d.scale;
            }
            slopes[row * (kTile + 1) + j] = slope;
        }
        __syncwarp();  // the row's slopes are there
        for (int c = lane; c < head_dim; c += kLanes) {
            float value = dq[row * line + c];
            for (int j = 0; j < kTile; j++) value += slopes[row * (kTile + 1) + j] * k[j * line + c];
            dq[row * line + c] = value;
        }
    }
    if (!present) return;
    for (int c = lane; c < head_dim; c += kLanes) {
        static_cast<T *>(d.dq)[(s.q0 + i0 + row) * d.q_stride + head * head_dim + c] = from_float<T>(dq[row * line + c]);
    }
}

template <class T, int kTile> __global__ void dk_dv_kernel(const __grid_constant__ AttentionProblem p) {
    constexpr int kLanes = kLanesOf<kTile>, kEach = kTile / kLanes;  // kEach: of a row's columns
    const ml_attention_desc &d = p.d;
    const AttentionBlock at_tile = attention_block(d, kTile);
    const AttentionSequence s = sequence_of(p, at_tile.sequence);
    const int64_t j0 = at_tile.first, kv_head = blockIdx.y, group = d.heads / d.kv_heads;
    if (j0 >= s.keys) return;
    const int head_dim = static_cast<int>(d.head_dim), line = head_dim + 1;
    const int64_t o_dense = d.heads * d.head_dim;
    ML_DYNAMIC_SHARED(float, shared);
    float *k = shared, *v = k + kTile * line, *q = v + kTile * line, *d_o = q + kTile * line, *dk = d_o + kTile * line;
    float *dv = dk + kTile * line, *weights = dv + kTile * line, *slopes = weights + kTile * (kTile + 1);
    const int row = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;  // of keys
    load_rows<T, kTile>(k, d.k, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
    load_rows<T, kTile>(v, d.v, s.k0, d.kv_stride, kv_head, head_dim, j0, s.keys);
    for (int c = lane; c < head_dim; c += kLanes) dk[row * line + c] = dv[row * line + c] = 0;
    const bool present = j0 + row < s.keys;
    const int64_t end = end_of_queries(d, s, j0, kTile);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int64_t i0 = j0; i0 < end; i0 += kTile) {
            __syncthreads();  // the queries before have been read
            load_rows<T, kTile>(q, d.q, s.q0, d.q_stride, head, head_dim, i0, s.queries);
            load_rows<T, kTile>(d_o, d.d_o, s.q0, o_dense, head, head_dim, i0, s.queries);
            __syncthreads();
            for (int e = 0; e < kEach; e++) {
                const int i = lane + e * kLanes;
                float weight = 0, slope = 0;
                if (present && i0 + i < s.queries && sees(d, i0 + i, j0 + row)) {
                    const int64_t at = (s.q0 + i0 + i) * d.heads + head;
                    weight = expf(d.scale * dot(q + i * line, k + row * line, head_dim) - d.lse[at]);
                    slope = weight * (dot(d_o + i * line, v + row * line, head_dim) - p.delta[at]) * d.scale;
                }
                weights[row * (kTile + 1) + i] = weight, slopes[row * (kTile + 1) + i] = slope;
            }
            __syncwarp();  // the row's weights and slopes are there
            for (int c = lane; c < head_dim; c += kLanes) {
                float value = dv[row * line + c], key = dk[row * line + c];
                for (int i = 0; i < kTile; i++) {
                    value += weights[row * (kTile + 1) + i] * d_o[i * line + c];
                    key += slopes[row * (kTile + 1) + i] * q[i * line + c];
                }
                dv[row * line + c] = value, dk[row * line + c] = key;
            }
        }
    }
    if (!present) return;
    const int64_t at = (s.k0 + j0 + row) * d.kv_stride + kv_head * head_dim;
    for (int c = lane; c < head_dim; c += kLanes) {
        static_cast<T *>(d.dk)[at + c] = from_float<T>(dk[row * line + c]);
        static_cast<T *>(d.dv)[at + c] = from_float<T>(dv[row * line + c]);
    }
}

// How many tiles of rows and squares of scores a block of each kernel keeps.
struct Kept {
    int tiles, squares;
    size_t bytes(int tile, int64_t head_dim) const {
        return static_cast<size_t>(tiles * tile * (head_dim + 1) + squares * tile * (tile + 1)) * sizeof(float);
    }
};

template <class Kernel>
cudaError_t run(const AttentionProblem &p, int64_t heads, Kept kept, Kernel large, Kernel small, cudaStream_t stream) {
    const size_t bytes = kept.bytes(kLargeTile, p.d.head_dim);
    if (bytes <= shared_memory_limit()) return launch(large, attention_grid(p.d, kLargeTile, heads), dim3(kThreads), bytes, stream, p);
    return launch(small, attention_grid(p.d, kSmallTile, heads), dim3(kThreads), kept.bytes(kSmallTile, p.d.head_dim), stream, p);
}

ml_attention_desc with_strides(ml_attention_desc d) {
    d.q_stride = stride_of(d.q_stride, d.heads * d.head_dim), d.o_stride = stride_of(d.o_stride, d.heads * d.head_dim);
    d.kv_stride = stride_of(d.kv_stride, d.kv_heads * d.head_dim);
    return d;
}

}  // namespace

bool attention_supports(int64_t head_dim) { return head_dim <= kMostHeadDim; }

template <class T> cudaError_t attention_forward(State &s, const ml_attention_desc &given, int64_t most_keys) {
    if (given.tokens == 0 || given.sequences == 0 || given.max_length == 0) return cudaSuccess;
    const ml_attention_desc d = with_strides(given);
    const AttentionProblem p{d, most_keys, s.fault, nullptr};
    if (sizeof(T) == 2 && attention_fits_tensor_cores(d)) return attention_forward_tensor(p, s.stream);
    return run(p, d.heads, {4, 1}, forward_kernel<T, kLargeTile>, forward_kernel<T, kSmallTile>, s.stream);
}

template <class T> cudaError_t attention_backward(State &s, const ml_attention_desc &given) {
    if (given.tokens == 0 || given.sequences == 0 || given.max_length == 0) return cudaSuccess;
    ml_attention_desc d = with_strides(given);
    d.kv_offsets = nullptr;  // forward only
    const int64_t rows = d.tokens * d.heads;
    auto *delta = s.take<float>(rows);
    cudaError_t error = launch(delta_kernel<T>, Grid(blocks_for(rows, kThreads / kWarp)), dim3(kThreads), 0, s.stream,
                               static_cast<const T *>(d.o), d.o_stride, static_cast<const T *>(d.d_o), delta, rows, static_cast<int>(d.heads),
                               static_cast<int>(d.head_dim));
    if (error != cudaSuccess) return error;
    const AttentionProblem p{d, d.tokens, s.fault, delta};
    if (sizeof(T) == 2 && attention_fits_tensor_cores(d)) return attention_backward_tensor(p, s.stream);
    error = run(p, d.heads, {5, 1}, dq_kernel<T, kLargeTile>, dq_kernel<T, kSmallTile>, s.stream);
    if (error != cudaSuccess) return error;
    return run(p, d.kv_heads, {6, 2}, dk_dv_kernel<T, kLargeTile>, dk_dv_kernel<T, kSmallTile>, s.stream);
}

template cudaError_t attention_forward<float>(State &, const ml_attention_desc &, int64_t);
template cudaError_t attention_forward<bf16>(State &, const ml_attention_desc &, int64_t);
template cudaError_t attention_backward<float>(State &, const ml_attention_desc &);
template cudaError_t attention_backward<bf16>(State &, const ml_attention_desc &);

}  // namespace cuda
}  // namespace metalora
