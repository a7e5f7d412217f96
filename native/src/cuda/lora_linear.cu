// The frozen Linear with its low-rank adapters (Hu et al. 2021), forward and backward, as products (product.h):
//   forward   h = A x (shrink), then y = W x + (scale B) h in the same accumulators
//   backward  u = scale B^T dy, dB = scale dy h^T, dA = u x^T, then dx = W^T dy + A^T u in the same accumulators
// u and dB come from one pass over dY on tensor cores (adapter_backward.cu), for ranks up to 32.
// On tensor cores A and scale B are first rounded to bf16; h and u are kept in both widths. There the products by W may also be
// cuBLASLt's (matmul.h).
#include "cuda/adapter_backward.h"
#include "cuda/kernels.h"
#include "cuda/matmul.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kWantedBlocks = 264;  // two for each multiprocessor of the largest devices
constexpr int64_t kSmallestPart = 256;  // tokens

// a_to[slot][rank][in_stride] = A and b_to[slot][out][rank_stride] = scale B, zeros behind each row.
__global__ void round_adapter_kernel(ml_lora_linear_desc d, int64_t in, int64_t out, bf16 *a_to, int64_t in_stride, bf16 *b_to,
                                     int64_t rank_stride) {
    const int64_t slot = blockIdx.y, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const int64_t size_a = d.rank * in_stride, size_b = out * rank_stride;
    if (i < size_a) {
        const int64_t row = i / in_stride, column = i % in_stride;
        a_to[slot * size_a + i] = to_bf16(column < in ? d.a[slot * d.slot_stride + row * in + column] : 0.0f);
    } else if (i < size_a + size_b) {
        const int64_t row = (i - size_a) / rank_stride, column = (i - size_a) % rank_stride;
        b_to[slot * size_b + i - size_a] = to_bf16(column < d.rank ? d.scale * d.b[slot * d.slot_stride + row * d.rank + column] : 0.0f);
    }
}

// [rows, width] floats to bf16 rows of `stride`, zeros behind.
__global__ void round_rows_kernel(const float *from, bf16 *to, int64_t rows, int64_t width, int64_t stride) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= rows * stride) return;
    to[i] = to_bf16(i % stride < width ? from[i / stride * width + i % stride] : 0.0f);
}

template <class T>
__global__ void drop_kernel(const T *x, T *to, int64_t tokens, int64_t width, uint64_t seed, uint64_t stream, DropoutRate rate) {
    const int64_t quads = (width + 3) / 4, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= tokens * quads) return;
    const int64_t token = i / quads, quad = i % quads;
    uint32_t words[4];
    philox_words(seed, stream, token, quad, words);
    for (int j = 0; j < 4; j++) {
        const int64_t column = quad * 4 + j;
        if (column >= width) break;
        to[token * width + column] = from_float<T>(words[j] < rate.threshold ? 0.0f : to_float(x[token * width + column]) * rate.keep_scale);
    }
}

// grad[slot][i] += the slot's parts, in their order.
__global__ void add_parts_kernel(Product p, float *grad, int64_t slot_stride) {
    const int64_t count = p.m * p.n, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, slot = blockIdx.y;
    if (i >= count) return;
    const Segment tokens = segment_of(p.slot_offsets, slot, p.tokens);
    if (tokens.begin == tokens.end) return;
    const float *parts = static_cast<const float *>(p.out) + first_part(tokens.begin, slot, p.part) * count + i;
    float sum = 0;
    for (int64_t at = tokens.begin; at < tokens.end; at += p.part, parts += count) sum += *parts;
    grad[slot * slot_stride + i] += sum;
}

// One call of the op: its matrices in the form its products take.
template <class T> struct Call {
    State &s;
    const ml_lora_linear_desc &d;
    int64_t in, out, rank_stride;
    int32_t dtype = sizeof(T) == 2 ? ML_BF16 : ML_F32;
    bool tensor;  // on tensor cores
    Matrix a, b;  // rows r along in; rows out along r. b is scaled where tensor
    const T *x;   // what the adapter sees: after dropout

    Call(State &s, const ml_lora_linear_desc &d)
        : s(s), d(d), in(d.w->in_features), out(d.w->out_features), rank_stride(round_up(d.rank, 8)), x(static_cast<const T *>(d.x)) {
        tensor = dtype == ML_BF16 && d.w->storage_dtype == ML_BF16 && packable<8>(in | out, d.x, d.y, d.dy, d.dx, d.residual);
    }

    Matrix rows(const void *data, int32_t type, int64_t stride) const { return {data, type, stride, 1, 0}; }
    static Matrix transposed(Matrix m) {
        const int64_t row = m.row_stride;
        m.row_stride = m.k_stride, m.k_stride = row;
        return m;
    }
    Matrix weight() const { return rows(d.w->data, d.w->storage_dtype, weight_stride(d.w->storage_dtype, in)); }

    Product over_tokens(int64_t n) const {
        Product p;
        p.m = d.tokens, p.n = n, p.tokens = d.tokens;
        if (d.rank > 0) p.slot_offsets = d.slot_offsets, p.slots = d.slots;
        p.out_stride = n, p.out_dtype = dtype;
        return p;
    }

    cudaError_t prepare_adapter() {
        if (!tensor) {
            a = rows(d.a, ML_F32, in), b = rows(d.b, ML_F32, d.rank);
            a.slot = b.slot = d.slot_stride;
            return cudaSuccess;
        }
        const int64_t size_a = d.rank * in, size_b = out * rank_stride;
        auto *a_to = s.take<bf16>(d.slots * size_a), *b_to = s.take<bf16>(d.slots * size_b);
        a = rows(a_to, ML_BF16, in), b = rows(b_to, ML_BF16, rank_stride);
        a.slot = size_a, b.slot = size_b;
        return launch(round_adapter_kernel, Grid(blocks_for(size_a + size_b, kThreads), d.slots), dim3(kThreads), 0,
                      s.stream, d, in, out, a_to, in, b_to, rank_stride);
    }

    cudaError_t drop_input() {
        if (dropout_rate(d.dropout).threshold == 0) return cudaSuccess;
        auto *dropped = s.take<T>(d.tokens * in);
        const T *from = x;
        x = dropped;
        return launch(drop_kernel<T>, Grid(blocks_for(d.tokens * ((in + 3) / 4), kThreads)), dim3(kThreads), 0, s.stream, from, dropped,
                      d.tokens, in, d.seed, d.stream, dropout_rate(d.dropout));
    }

    cudaError_t by_weight(const Product &p, bool transposed, const LowRank *low) {
        return tensor ? matmul(s, p, *d.w, transposed, low) : product(p, s.stream);
    }

    // A gradient's sum over each slot's tokens, by parts that `tiles` blocks take.
    Product in_parts(int64_t m, int64_t n, int64_t tiles) {
        Product p;
        p.m = m, p.n = n, p.tokens = d.tokens, p.slot_offsets = d.slot_offsets, p.slots = d.slots, p.out_stride = n;
        p.part = round_up(d.tokens * tiles / kWantedBlocks, 64);
        if (p.part < kSmallestPart) p.part = kSmallestPart;
        p.out = s.take<float>(parts_of(p) * m * n);
        return p;
    }
    cudaError_t add_parts(const Product &p, float *grad) {
        return launch(add_parts_kernel, Grid(blocks_for(p.m * p.n, kThreads), d.slots), dim3(kThreads), 0, s.stream, p,
                      grad, d.slot_stride);
    }

    // Sums left^T right over each slot's tokens into the gradients.
    cudaError_t add_gradient(Matrix left, int64_t m, Matrix right, int64_t n, float alpha, float *grad) {
        Product p = in_parts(m, n, ((m + 63) / 64) * ((n + 63) / 64));
        p.factor[0] = {left, right, d.tokens, false, 1};
        p.alpha = alpha;
        const cudaError_t error = product(p, s.stream);
        return error == cudaSuccess ? add_parts(p, grad) : error;
    }
};

}  // namespace

template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    Call<T> call(s, d);
    Product y = call.over_tokens(call.out);
    y.factor[0] = {call.rows(d.x, call.dtype, call.in), call.weight(), call.in, false, 1};
    y.bias = d.bias, y.residual = d.residual, y.out = d.y;
    if (d.rank == 0) return call.by_weight(y, false, nullptr);

    cudaError_t error = call.prepare_adapter();
    if (error == cudaSuccess) error = call.drop_input();
    if (error != cudaSuccess) return error;
    Product h = call.over_tokens(d.rank);
    h.factor[0] = {call.rows(call.x, call.dtype, call.in), call.a, call.in, true, 1};
    h.out = d.h, h.out_dtype = ML_F32, h.fault = s.fault;
    if (call.tensor) h.rounded = s.take<bf16>(d.tokens * call.rank_stride), h.rounded_stride = call.rank_stride;
    error = product(h, s.stream);
    if (error != cudaSuccess) return error;
    if (call.tensor) {
        const LowRank low = {call.rows(h.rounded, ML_BF16, call.rank_stride), call.b, d.rank, call.rank_stride};
        return call.by_weight(y, false, &low);
    }
    y.factor[1] = {call.rows(d.h, ML_F32, d.rank), call.b, d.rank, true, d.scale};
    y.factors = 2;
    return product(y, s.stream);
}

template <class T> cudaError_t lora_linear_backward(State &s, const ml_lora_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    Call<T> call(s, d);
    Product dx = call.over_tokens(call.in);
    dx.factor[0] = {call.rows(d.dy, call.dtype, call.out), Call<T>::transposed(call.weight()), call.out, false, 1};
    dx.out = d.dx, dx.accumulate = d.accumulate != 0;
    if (d.rank == 0) return d.dx == nullptr ? cudaSuccess : call.by_weight(dx, true, nullptr);

    cudaError_t error = call.prepare_adapter();
    if (error == cudaSuccess) error = call.drop_input();
    if (error != cudaSuccess) return error;
    const Matrix dy = call.rows(d.dy, call.dtype, call.out), x = call.rows(call.x, call.dtype, call.in);
    Matrix h = call.rows(d.h, ML_F32, d.rank), u;

    Product du = call.over_tokens(d.rank);
    du.factor[0] = {dy, Call<T>::transposed(call.b), call.out, true, call.tensor ? 1.0f : d.scale};
    du.out_dtype = ML_F32, du.fault = s.fault;
    if (call.tensor) {
        auto *rounded = s.take<bf16>(d.tokens * call.rank_stride);
        error = launch(round_rows_kernel, Grid(blocks_for(d.tokens * call.rank_stride, kThreads)), dim3(kThreads), 0, s.stream,
                       static_cast<const float *>(d.h), rounded, d.tokens, d.rank, call.rank_stride);
        if (error != cudaSuccess) return error;
        h = call.rows(rounded, ML_BF16, call.rank_stride);
        du.rounded = s.take<bf16>(d.tokens * call.rank_stride), du.rounded_stride = call.rank_stride;
        u = call.rows(du.rounded, ML_BF16, call.rank_stride);
    } else {
        du.out = s.take<float>(d.tokens * d.rank);
        u = call.rows(du.out, ML_F32, d.rank);
    }
    if (call.tensor && d.rank <= kMostFusedRank) {
        const Product db = call.in_parts(call.out, d.rank, (call.out + 255) / 256);
        error = adapter_backward(s, {static_cast<const bf16 *>(d.dy), static_cast<const bf16 *>(h.data), static_cast<const bf16 *>(call.b.data),
                                     du.rounded, d.tokens, call.out, d.rank, call.rank_stride, d.slots, d.slot_offsets, d.scale, s.fault,
                                     db.part, static_cast<float *>(db.out)});
        if (error == cudaSuccess) error = call.add_parts(db, d.db);
    } else {
        error = product(du, s.stream);
        if (error == cudaSuccess) error = call.add_gradient(Call<T>::transposed(dy), call.out, Call<T>::transposed(h), d.rank, d.scale, d.db);
    }
    if (error == cudaSuccess) error = call.add_gradient(Call<T>::transposed(u), d.rank, Call<T>::transposed(x), call.in, 1, d.da);
    if (error != cudaSuccess || d.dx == nullptr) return error;

    const LowRank low = {u, Call<T>::transposed(call.a), d.rank, call.rank_stride};
    const Factor term = {low.low, low.high, d.rank, true, 1};
    if (dropout_rate(d.dropout).threshold == 0) {
        if (call.tensor) return call.by_weight(dx, true, &low);
        dx.factor[1] = term, dx.factors = 2;
        return product(dx, s.stream);
    }
    error = call.by_weight(dx, true, nullptr);
    if (error != cudaSuccess) return error;
    dx.factor[0] = term, dx.accumulate = true;
    dx.dropout = dropout_rate(d.dropout), dx.seed = d.seed, dx.stream = d.stream;
    return product(dx, s.stream);
}

template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<bf16>(State &, const ml_lora_linear_desc &);

}  // namespace cuda
}  // namespace metalora
