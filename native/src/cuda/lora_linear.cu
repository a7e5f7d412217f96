// The frozen Linear with its low-rank adapters (Hu et al. 2021), forward and backward, as products (product.h):
//   forward   h = A x (shrink), then y = W x + (scale B) h in the same accumulators
//   backward  u = scale B^T dy, dB = scale dy h^T, dA = u x^T, then dx = W^T dy + A^T u in the same accumulators
// u and dB come from one pass over dY on tensor cores (adapter_backward.cu), for ranks up to 32.
// The terms' matrices are first put together, in bf16 on tensor cores; h and u are kept in both widths. There the products by W may also be
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

// The terms' matrices as those of one adapter: a_to[slot][terms * padded][in] = their A one below the other, and
// b_to[slot][out][terms * padded] = scale B in the rows and columns of its term; zeros elsewhere.
template <class E>
__global__ void stack_kernel(const __grid_constant__ ml_lora_linear_desc d, int64_t in, int64_t out, int64_t padded, E *a_to, E *b_to) {
    const int64_t slot = blockIdx.y, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, ranks = d.terms * padded;
    const int64_t size_a = ranks * in, size_b = out * ranks;
    if (i >= size_a + size_b) return;
    const bool of_a = i < size_a;
    const int64_t rank = of_a ? i / in : (i - size_a) % ranks, feature = of_a ? i % in : (i - size_a) / ranks, r = rank % padded;
    const ml_lora_term &t = d.term[rank / padded];
    float value = 0;
    if (r < d.rank && of_a) value = t.a[slot * d.slot_stride + r * in + feature];
    else if (r < d.rank && feature >= t.first && feature < t.first + t.rows) {
        value = d.scale * t.b[slot * d.slot_stride + (feature - t.first) * d.rank + r];
    }
    if (of_a) a_to[slot * size_a + i] = from_float<E>(value);
    else b_to[slot * size_b + i - size_a] = from_float<E>(value);
}

// h [tokens, terms * rank] to bf16 [tokens, terms * padded], zeros behind each rank.
__global__ void round_h_kernel(const float *h, bf16 *to, int64_t count, int64_t rank, int64_t padded) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= count) return;
    to[i] = to_bf16(i % padded < rank ? h[i / padded * rank + i % padded] : 0.0f);
}

template <class T>
__global__ void drop_kernel(const T *x, int64_t x_stride, T *to, int64_t tokens, int64_t width, uint64_t seed, uint64_t stream, DropoutRate rate) {
    const int64_t quads = (width + 3) / 4, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= tokens * quads) return;
    const int64_t token = i / quads, quad = i % quads;
    uint32_t words[4];
    philox_words(seed, stream, token, quad, words);
    for (int j = 0; j < 4; j++) {
        const int64_t column = quad * 4 + j;
        if (column >= width) break;
        to[token * width + column] = from_float<T>(words[j] < rate.threshold ? 0.0f : to_float(x[token * x_stride + column]) * rate.keep_scale);
    }
}

// grad[slot][i] += element first + i of the slot's parts, in their order.
__global__ void add_parts_kernel(const __grid_constant__ Product p, int64_t first, int64_t count, float *grad, int64_t slot_stride) {
    const int64_t size = p.m * p.n, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, slot = blockIdx.y;
    if (i >= count) return;
    const Segment tokens = segment_of(p.slot_offsets, slot, p.tokens);
    if (tokens.begin == tokens.end) return;
    const float *parts = static_cast<const float *>(p.out) + first_part(tokens.begin, slot, p.part) * size + first + i;
    float sum = 0;
    for (int64_t at = tokens.begin; at < tokens.end; at += p.part, parts += size) sum += *parts;
    grad[slot * slot_stride + i] += sum;
}

// One call of the op: its matrices in the form its products take.
template <class T> struct Call {
    State &s;
    const ml_lora_linear_desc &d;
    int64_t in, out;
    int64_t y_stride;      // of dy too
    int32_t dtype = sizeof(T) == 2 ? ML_BF16 : ML_F32;
    bool tensor;           // on tensor cores
    int64_t padded, ranks; // of a term's rank, and of all of them
    Matrix a, b;           // of the terms together: rows of ranks along in; rows out along the ranks
    float b_scale = 1;     // what b has not been multiplied by
    Matrix x;
    bool drops;            // each term sees an x of its own
    T *dropped = nullptr;  // of the term that is at work

    Call(State &s, const ml_lora_linear_desc &d)
        : s(s), d(d), in(d.w->in_features), out(d.w->out_features), y_stride(stride_of(d.y_stride, out)),
          x(rows(d.x, dtype, stride_of(d.x_stride, in))), drops(d.rank > 0 && dropout_rate(d.dropout).threshold != 0) {
        tensor = dtype == ML_BF16 && d.w->storage_dtype == ML_BF16
            && packable<8>(in | out | d.x_stride | d.y_stride, d.x, d.y, d.dy, d.dx, d.residual);
        padded = tensor ? round_up(d.rank, 8) : d.rank, ranks = d.terms * padded;
    }

    Matrix rows(const void *data, int32_t type, int64_t stride) const { return {data, type, stride, 1, 0}; }
    static Matrix transposed(Matrix m) {
        const int64_t row = m.row_stride;
        m.row_stride = m.k_stride, m.k_stride = row;
        return m;
    }
    // The matrix from an element on.
    static Matrix from(Matrix m, int64_t row, int64_t k) {
        const int64_t at = row * m.row_stride + k * m.k_stride;
        m.data = static_cast<const char *>(m.data) + at * (m.dtype == ML_BF16 ? 2 : 4);
        return m;
    }
    Matrix weight() const { return rows(d.w->data, d.w->storage_dtype, WeightLayout(*d.w).stride); }
    Matrix dy() const { return rows(d.dy, dtype, y_stride); }

    Product over_tokens(int64_t n) const {
        Product p;
        p.m = d.tokens, p.n = n, p.tokens = d.tokens;
        if (d.rank > 0) p.slot_offsets = d.slot_offsets, p.slots = d.slots;
        p.out_stride = n, p.out_dtype = dtype;
        return p;
    }

    cudaError_t prepare_adapter() {
        const ml_lora_term &only = d.term[0];
        if (!tensor && d.terms == 1 && only.rows == out) {
            a = rows(only.a, ML_F32, in), b = rows(only.b, ML_F32, d.rank), b_scale = d.scale;
            a.slot = b.slot = d.slot_stride;
            return cudaSuccess;
        }
        return tensor ? stack<bf16>(ML_BF16) : stack<float>(ML_F32);
    }
    template <class E> cudaError_t stack(int32_t type) {
        const int64_t size_a = ranks * in, size_b = out * ranks;
        auto *a_to = s.take<E>(d.slots * size_a), *b_to = s.take<E>(d.slots * size_b);
        a = rows(a_to, type, in), b = rows(b_to, type, ranks);
        a.slot = size_a, b.slot = size_b;
        return launch(stack_kernel<E>, Grid(blocks_for(size_a + size_b, kThreads), d.slots), dim3(kThreads), 0, s.stream, d, in, out, padded,
                      a_to, b_to);
    }

    // What a term's adapter sees: x after the term's dropout.
    cudaError_t input_of(int64_t t, Matrix &seen) {
        seen = x;
        if (!drops) return cudaSuccess;
        if (dropped == nullptr) dropped = s.take<T>(d.tokens * in);
        seen = rows(dropped, dtype, in);
        return launch(drop_kernel<T>, Grid(blocks_for(d.tokens * ((in + 3) / 4), kThreads)), dim3(kThreads), 0, s.stream,
                      static_cast<const T *>(d.x), x.row_stride, dropped, d.tokens, in, d.seed, d.term[t].stream, dropout_rate(d.dropout));
    }

    // h = A x, in float and, for tensor cores, in bf16: one product, or one a term where each sees another x or the ranks of bf16
    // are padded.
    cudaError_t shrink(bf16 *rounded) {
        const bool together = padded == d.rank && !drops;
        for (int64_t t = 0; t < (together ? 1 : d.terms); t++) {
            Matrix seen;
            if (const cudaError_t error = input_of(t, seen); error != cudaSuccess) return error;
            Product h = over_tokens(together ? ranks : d.rank);
            h.factor[0] = {seen, from(a, t * padded, 0), in, true, 1};
            h.out = d.h + t * d.rank, h.out_dtype = ML_F32, h.out_stride = d.terms * d.rank, h.fault = s.fault;
            if (rounded != nullptr) h.rounded = rounded + t * padded, h.rounded_columns = together ? ranks : padded, h.rounded_stride = ranks;
            if (const cudaError_t error = product(h, s.stream); error != cudaSuccess) return error;
        }
        return cudaSuccess;
    }

    cudaError_t by_weight(const Product &p, bool transposed, const LowRank *low) {
        return tensor ? matmul(s, p, *d.w, transposed, low) : product(p, s.stream);
    }

    // No fewer than parts_of, and for more tokens no fewer than for less, which rounding would make of those: what was planned for the
    // largest pack is enough for the others.
    int64_t most_parts(int64_t tiles) const {
        const int64_t smallest = d.tokens / kSmallestPart, wanted = kWantedBlocks / tiles;
        return (smallest < wanted ? smallest : wanted) + d.slots;
    }

    // A gradient's sum over each slot's tokens, by parts that `tiles` blocks take.
    Product in_parts(int64_t m, int64_t n, int64_t tiles) {
        Product p;
        p.m = m, p.n = n, p.tokens = d.tokens, p.slot_offsets = d.slot_offsets, p.slots = d.slots, p.out_stride = n;
        p.part = round_up(d.tokens * tiles / kWantedBlocks, 64);
        if (p.part < kSmallestPart) p.part = kSmallestPart;
        p.out = s.take<float>(most_parts(tiles) * m * n);
        return p;
    }
    // Rows [row, row + rows) of the parts' sums into a gradient.
    cudaError_t add_parts(const Product &p, int64_t row, int64_t rows, float *grad) {
        return launch(add_parts_kernel, Grid(blocks_for(rows * p.n, kThreads), d.slots), dim3(kThreads), 0, s.stream, p, row * p.n, rows * p.n,
                      grad, d.slot_stride);
    }

    // left^T right over each slot's tokens, by parts.
    cudaError_t sum_over_tokens(Matrix left, int64_t m, Matrix right, int64_t n, float alpha, Product &p) {
        p = in_parts(m, n, ((m + 63) / 64) * ((n + 63) / 64));
        p.factor[0] = {transposed(left), transposed(right), d.tokens, false, 1};
        p.alpha = alpha;
        return product(p, s.stream);
    }

    // dA = u x^T: of all terms from one pass over x where they see the same one.
    cudaError_t input_backward(Matrix u) {
        Matrix seen = x;
        Product da;
        cudaError_t error = cudaSuccess;
        if (!drops) error = sum_over_tokens(u, ranks, x, in, 1, da);
        for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) {
            if (drops) {
                error = input_of(t, seen);
                if (error == cudaSuccess) error = sum_over_tokens(from(u, 0, t * padded), padded, seen, in, 1, da);
            }
            if (error == cudaSuccess) error = add_parts(da, drops ? 0 : t * padded, d.rank, d.term[t].da);
        }
        return error;
    }

    // dB of a term, and its columns of u = scale B^T dy: from one pass over dY where there is a kernel for it.
    cudaError_t term_backward(int64_t t, Matrix h, Matrix u) {
        const ml_lora_term &term = d.term[t];
        const int64_t column = t * padded;
        const Matrix dy = from(this->dy(), 0, term.first), b = from(this->b, term.first, column), h_of_term = from(h, 0, column);
        Product db;
        cudaError_t error = cudaSuccess;
        if (tensor && d.rank <= kMostFusedRank && term.first % 8 == 0) {
            db = in_parts(term.rows, d.rank, (term.rows + 255) / 256);
            error = adapter_backward(s, {static_cast<const bf16 *>(dy.data), static_cast<const bf16 *>(h_of_term.data),
                                         static_cast<const bf16 *>(b.data), static_cast<bf16 *>(const_cast<void *>(u.data)) + column, d.tokens,
                                         term.rows, d.rank, d.slots, y_stride, ranks, b.slot, d.slot_offsets, d.scale, s.fault, db.part,
                                         static_cast<float *>(db.out)});
        } else {
            Product du = over_tokens(padded);
            du.factor[0] = {dy, transposed(b), term.rows, true, b_scale};
            du.out_dtype = ML_F32, du.fault = s.fault;
            if (tensor) du.rounded = static_cast<bf16 *>(const_cast<void *>(u.data)) + column, du.rounded_columns = padded, du.rounded_stride = ranks;
            else du.out = static_cast<float *>(const_cast<void *>(u.data)) + column, du.out_stride = ranks;
            error = product(du, s.stream);
            if (error == cudaSuccess) error = sum_over_tokens(dy, term.rows, h_of_term, d.rank, d.scale, db);
        }
        return error == cudaSuccess ? add_parts(db, 0, term.rows, term.db) : error;
    }
};

}  // namespace

template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    Call<T> call(s, d);
    Product y = call.over_tokens(call.out);
    y.factor[0] = {call.x, call.weight(), call.in, false, 1};
    y.bias = d.bias, y.residual = d.residual, y.out = d.y, y.out_stride = call.y_stride;
    if (d.rank == 0) return call.by_weight(y, false, nullptr);

    cudaError_t error = call.prepare_adapter();
    if (error != cudaSuccess) return error;
    auto *rounded = call.tensor ? s.take<bf16>(d.tokens * call.ranks) : nullptr;
    error = call.shrink(rounded);
    if (error != cudaSuccess) return error;
    if (call.tensor) {
        const LowRank low = {call.rows(rounded, ML_BF16, call.ranks), call.b, call.ranks, d.spare};
        return call.by_weight(y, false, &low);
    }
    y.factor[1] = {call.rows(d.h, ML_F32, call.ranks), call.b, call.ranks, true, call.b_scale};
    y.factors = 2;
    return product(y, s.stream);
}

template <class T> cudaError_t lora_linear_backward(State &s, const ml_lora_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    Call<T> call(s, d);
    Product dx = call.over_tokens(call.in);
    dx.factor[0] = {call.dy(), Call<T>::transposed(call.weight()), call.out, false, 1};
    dx.out = d.dx, dx.accumulate = d.accumulate != 0;
    if (d.rank == 0) return d.dx == nullptr ? cudaSuccess : call.by_weight(dx, true, nullptr);

    cudaError_t error = call.prepare_adapter();
    if (error != cudaSuccess) return error;
    const int64_t values = d.tokens * call.ranks;
    Matrix h = call.rows(d.h, ML_F32, call.ranks), u;
    if (call.tensor) {
        auto *rounded = s.take<bf16>(values);
        error = launch(round_h_kernel, Grid(blocks_for(values, kThreads)), dim3(kThreads), 0, s.stream, static_cast<const float *>(d.h), rounded,
                       values, d.rank, call.padded);
        if (error != cudaSuccess) return error;
        h = call.rows(rounded, ML_BF16, call.ranks);
        u = call.rows(s.take<bf16>(values), ML_BF16, call.ranks);
    } else {
        u = call.rows(s.take<float>(values), ML_F32, call.ranks);
    }
    for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) error = call.term_backward(t, h, u);
    if (error != cudaSuccess) return error;
    error = call.input_backward(u);
    if (error != cudaSuccess || d.dx == nullptr) return error;

    const LowRank low = {u, Call<T>::transposed(call.a), call.ranks, d.spare};
    if (call.drops) {
        error = call.by_weight(dx, true, nullptr);
        dx.accumulate = true, dx.dropout = dropout_rate(d.dropout), dx.seed = d.seed;
        for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) {
            const int64_t rank = t * call.padded;
            dx.factor[0] = {Call<T>::from(low.low, 0, rank), Call<T>::from(low.high, 0, rank), call.padded, true, 1};
            dx.stream = d.term[t].stream;
            error = product(dx, s.stream);
        }
        return error;
    }
    if (call.tensor) return call.by_weight(dx, true, &low);
    dx.factor[1] = {low.low, low.high, low.rank, true, 1}, dx.factors = 2;
    return product(dx, s.stream);
}

template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<bf16>(State &, const ml_lora_linear_desc &);

}  // namespace cuda
}  // namespace metalora
