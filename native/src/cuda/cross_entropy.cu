// lm_head + cross-entropy on the loss-bearing rows, a chunk of them at a time. Logits are float; their gradient takes their
// place, and a chunk's memory is all there is of both.
#include <cfloat>

#include "cuda/kernels.h"
#include "cuda/matmul.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunkBytes = int64_t(512) << 20;  // of logits
#ifdef METALORA_HOSTCUDA
constexpr int64_t kMostRows = 16;  // small tests have several chunks too
#else
constexpr int64_t kMostRows = 4096;
#endif
constexpr int64_t kTileRows = 128;                   // of the products' tiles: larger chunks are whole ones
constexpr int kEach = 8;                             // logits a thread takes at a time
constexpr int kStep = kThreads * kEach;

// Row i of `to` is row rows[i] of x; zeros, and a fault, where there is no such row, or where rows have to ascend and do not.
template <class T>
__global__ void gather_kernel(const T *x, const int32_t *rows, int64_t first, T *to, int64_t tokens, int64_t hidden, bool ascending, int *fault) {
    const int64_t i = blockIdx.x;
    const int32_t row = rows[first + i];
    bool right = row >= 0 && row < tokens;
    if (ascending && first + i > 0) right = right && row > rows[first + i - 1];
    if (!right && threadIdx.x == 0) *fault = kFaultRows;
    for (int64_t c = threadIdx.x; c < hidden; c += kThreads) to[i * hidden + c] = right ? x[row * hidden + c] : from_float<T>(0.0f);
}

template <class T>
__global__ void scatter_kernel(const T *from, const int32_t *rows, int64_t first, T *dx, int64_t tokens, int64_t hidden) {
    const int64_t i = blockIdx.x;
    const int32_t row = rows[first + i];
    if (row < 0 || row >= tokens) return;
    for (int64_t c = threadIdx.x; c < hidden; c += kThreads) dx[row * hidden + c] = from[i * hidden + c];
}

struct Best {
    float value;
    int id;
};

__device__ inline Best better(Best a, Best b) { return b.value > a.value || (b.value == a.value && b.id < a.id) ? b : a; }

// The largest logit of the row and its lowest id, the same in every thread.
__device__ inline Best block_best(Best best) {
    ML_SHARED_ARRAY(Best, partial, kThreads / kWarp);
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        best = better(best, {__shfl_xor_sync(kFullMask, best.value, offset), __shfl_xor_sync(kFullMask, best.id, offset)});
    }
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = best;
    __syncthreads();
    best = partial[0];
    for (int warp = 1; warp < kThreads / kWarp; warp++) best = better(best, partial[warp]);
    return best;
}

// Logits of a row from c on. What lies behind the vocabulary is not read.
__device__ inline void load_logits(float (&v)[kEach], const float *row, int64_t c, int64_t vocab) {
    if (c + kEach <= vocab) return load<kEach>(v, row + c);
    ML_UNROLL
    for (int j = 0; j < kEach; j++) v[j] = c + j < vocab ? row[c + j] : -INFINITY;
}

// A block a row of logits. One pass finds the largest and the sum of exponentials, which a thread takes relative to the largest
// that it has met, and scales down when it meets a larger one. With `gradient`, the row then becomes
// row_scale * (softmax - onehot), as T from the row's start on, zeros behind the vocabulary. What a step writes over has to
// be read by all before, in the first step row[wanted] too; a bf16 is half as wide as a logit, so that a barrier's worth of
// logits lasts for twice as many steps: there is one in the steps 0, 2, 6, 14, ...
template <class T>
__global__ void __launch_bounds__(kThreads, 6)
    softmax_kernel(float *logits, int64_t vocab, int64_t stride, const int32_t *target, const float *row_scale, float *logprob,
                   int32_t *argmax, bool gradient, int *fault) {
    const int64_t i = blockIdx.x, first = threadIdx.x * kEach;
    float *row = logits + i * stride;
    Best best{-INFINITY, static_cast<int>(first)};
    float sum = 0, shift = -FLT_MAX;  // the largest so far, but finite: logits of -infinity alone are a sum of 0
    for (int64_t c = first; c < vocab; c += kStep) {
        float v[kEach];
        load_logits(v, row, c, vocab);
        float most = v[0];
        ML_UNROLL
        for (int j = 1; j < kEach; j++) most = fmaxf(most, v[j]);
        if (most > best.value) {
            ML_UNROLL
            for (int j = kEach - 1; j >= 0; j--) {
                if (v[j] == most) best.id = static_cast<int>(c) + j;
            }
            best.value = most;
            sum *= expf(shift - most);
            shift = most;
        }
        ML_UNROLL
        for (int j = 0; j < kEach; j++) v[j] = expf(v[j] - shift);
        sum += ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
    }
    best = block_best(best);
    const double total = block_sum<kThreads>(static_cast<double>(sum) * expf(shift - best.value));
    const int32_t wanted = target[i];
    const bool known = wanted >= 0 && wanted < vocab;
    if (threadIdx.x == 0) {
        if (!known) *fault = kFaultTarget;
        logprob[i] = known ? static_cast<float>(static_cast<double>(row[wanted]) - best.value - log(total)) : NAN;
        if (argmax != nullptr) argmax[i] = best.id;
    }
    if (!gradient) return;
    const float scale = known ? row_scale[i] : 0.0f, share = static_cast<float>(1.0 / total);
    T *to = reinterpret_cast<T *>(row);
    int64_t read = 0;  // logits that all have read
    for (int64_t c0 = 0; c0 < stride; c0 += kStep) {
        const int64_t c = c0 + first;
        float v[kEach];
        load_logits(v, row, c, vocab);
        ML_UNROLL
        for (int j = 0; j < kEach; j++) {
            const float probability = expf(v[j] - best.value) * share;
            v[j] = c + j < vocab ? scale * (probability - (c + j == wanted ? 1.0f : 0.0f)) : 0;
        }
        if ((c0 + kStep) * static_cast<int64_t>(sizeof(T)) > read * 4) {
            __syncthreads();
            read = c0 + kStep;
        }
        if (c < stride) store<kEach>(to + c, v);
    }
}

}  // namespace

template <class T> cudaError_t cross_entropy(State &s, const ml_cross_entropy_desc &d) {
    const ml_weight &w = *d.w;
    const int64_t hidden = w.in_features, vocab = w.out_features, stride = round_up(vocab, 8);
    const int32_t dtype = sizeof(T) == 2 ? ML_BF16 : ML_F32;
    if (d.dx != nullptr && d.tokens > 0 && !planning) {
        const cudaError_t error = cudaMemsetAsync(d.dx, 0, static_cast<size_t>(d.tokens * hidden) * sizeof(T), s.stream);
        if (error != cudaSuccess) return error;
    }
    if (d.count == 0) return cudaSuccess;
    int64_t chunk = kChunkBytes / (stride * 4);
    chunk = chunk < 1 ? 1 : chunk > kMostRows ? kMostRows : chunk;
    if (chunk > kTileRows) chunk -= chunk % kTileRows;
    if (chunk > d.count) chunk = d.count;
    auto *gathered = s.take<T>(chunk * hidden);
    auto *logits = s.take<float>(chunk * stride);
    const bool tensor = dtype == ML_BF16 && w.storage_dtype == ML_BF16 && hidden % 8 == 0;
    const Matrix weight = {w.data, w.storage_dtype, WeightLayout(w).stride, 1, 0};
    for (int64_t first = 0; first < d.count; first += chunk) {
        const int64_t rows = d.count - first < chunk ? d.count - first : chunk;
        const Grid grid(rows);
        const dim3 threads(kThreads);
        cudaError_t error = launch(gather_kernel<T>, grid, threads, 0, s.stream, static_cast<const T *>(d.x), d.rows, first, gathered,
                                   d.tokens, hidden, d.dx != nullptr, s.fault);
        if (error != cudaSuccess) return error;
        Product p;
        p.m = rows, p.n = vocab, p.out = logits, p.out_stride = stride;
        p.factor[0] = {{gathered, dtype, hidden, 1, 0}, weight, hidden, false, 1};
        error = tensor ? matmul(s, p, false, nullptr) : product(p, s.stream);
        if (error != cudaSuccess) return error;
        error = launch(softmax_kernel<T>, grid, threads, 0, s.stream, logits, vocab, stride, d.target + first,
                       d.dx == nullptr ? nullptr : d.row_scale + first, d.logprob + first, d.argmax == nullptr ? nullptr : d.argmax + first,
                       d.dx != nullptr, s.fault);
        if (error != cudaSuccess) return error;
        if (d.dx == nullptr) continue;
        Product back;
        back.m = rows, back.n = hidden, back.out = gathered, back.out_dtype = dtype, back.out_stride = hidden;
        back.factor[0] = {{logits, dtype, stride * static_cast<int64_t>(4 / sizeof(T)), 1, 0},
                          {w.data, w.storage_dtype, 1, weight.row_stride, 0}, vocab, false, 1};
        error = tensor ? matmul(s, back, true, nullptr) : product(back, s.stream);
        if (error != cudaSuccess) return error;
        error = launch(scatter_kernel<T>, grid, threads, 0, s.stream, gathered, d.rows, first, static_cast<T *>(d.dx), d.tokens, hidden);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

template cudaError_t cross_entropy<float>(State &, const ml_cross_entropy_desc &);
template cudaError_t cross_entropy<bf16>(State &, const ml_cross_entropy_desc &);

}  // namespace cuda
}  // namespace metalora
