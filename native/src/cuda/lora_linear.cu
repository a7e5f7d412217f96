// The frozen Linear with its low-rank adapters (Hu et al. 2021), forward and backward, as products (product.h):
//   forward   h = A x (shrink), then y = W x + (scale B) h in the same accumulators
//   backward  u = scale B^T dy, dB = scale dy h^T, dA = u x^T, then dx = W^T dy + A^T u in the same accumulators
// The terms' matrices are first put together as those of one adapter. On tensor cores they are bf16 and, where there is room, form a
// K-tail of the weight (WeightLayout), with h and u behind the rows of x and dy: [x, h] [W, scale B]^T and [dy, u] [W; A] are then
// one product each, cuBLASLt's or our own (matmul.h). The kernel that writes x may do the shrink (shrink.h); u and dB come from one
// pass over dY for ranks up to 32 (adapter_backward.cu).
#include "cuda/adapter_backward.h"
#include "cuda/kernels.h"
#include "cuda/matmul.h"
#include "cuda/shrink.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kSmallestPart = 256;  // tokens

// Where a matrix of an adapter goes: row i of a slot at to[slot * of_slot + i * row]. Not wanted where there is no `to`.
template <class E> struct Place {
    E *to = nullptr;
    int64_t row = 0, of_slot = 0;
    Matrix matrix(int32_t dtype) const { return {to, dtype, row, 1, of_slot}; }
};

// The terms' matrices as those of one adapter: a[slot][terms * padded][in] = their A one below the other, b[slot][out][terms *
// padded] = scale B in the rows and columns of its term, zeros elsewhere; and h, [tokens, terms * rank] in float, with zeros behind
// each term's ranks.
template <class E>
__global__ void prepare_kernel(const __grid_constant__ ml_lora_linear_desc d, int64_t in, int64_t out, int64_t padded, Place<E> a, Place<E> b,
                               LowRows h) {
    const int64_t slot = blockIdx.y, ranks = d.terms * padded;
    // What a slot without tokens holds is of no account: beside a weight it would meet other slots' zeros, and might not be finite.
    const Segment own = segment_of(d.slot_offsets, slot, d.tokens);
    const bool used = own.begin < own.end;
    int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (a.to != nullptr) {
        if (i < ranks * in) {
            const int64_t rank = i / in, feature = i % in, r = rank % padded;
            const float value = used && r < d.rank ? d.term[rank / padded].a[slot * d.slot_stride + r * in + feature] : 0.0f;
            a.to[slot * a.of_slot + rank * a.row + feature] = from_float<E>(value);
            return;
        }
        i -= ranks * in;
    }
    if (b.to != nullptr) {
        if (i < out * ranks) {
            const int64_t feature = i / ranks, rank = i % ranks, r = rank % padded;
            const ml_lora_term &t = d.term[rank / padded];
            const int64_t row = feature - t.first;
            const float value = used && r < d.rank && row >= 0 && row < t.rows ? d.scale * t.b[slot * d.slot_stride + row * d.rank + r] : 0.0f;
            b.to[slot * b.of_slot + feature * b.row + rank] = from_float<E>(value);
            return;
        }
        i -= out * ranks;
    }
    if (h.data == nullptr || slot > 0 || i >= d.tokens * ranks) return;
    const int64_t token = i / ranks, rank = i % ranks, r = rank % padded;
    const float value = r < d.rank ? d.h[(token * d.terms + rank / padded) * d.rank + r] : 0.0f;
    store_low(h, d.slot_offsets, d.slots, d.tokens, token, rank, value);
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

// Where rows of a sum in parts are added: `padded` rows a gradient, of which the first `rank` count.
struct Gradients {
    float *to[ML_LORA_TERMS];
    int64_t rank, padded;
};

// gradient[slot] += the slot's parts, in their order.
__global__ void add_parts_kernel(const __grid_constant__ Product p, const __grid_constant__ Gradients gradients, int64_t slot_stride) {
    const int64_t size = p.m * p.n, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, slot = blockIdx.y;
    if (i >= size) return;
    const int64_t row = i / p.n, term = row / gradients.padded, r = row % gradients.padded;
    const Segment tokens = segment_of(p.slot_offsets, slot, p.tokens);
    if (r >= gradients.rank || tokens.begin == tokens.end) return;
    const float *parts = static_cast<const float *>(p.out) + first_part(tokens.begin, slot, p.part) * size + i;
    float sum = 0;
    for (int64_t at = tokens.begin; at < tokens.end; at += p.part, parts += size) sum += *parts;
    gradients.to[term][slot * slot_stride + r * p.n + i % p.n] += sum;
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
    bool beside_weight;    // there is room for all slots' ranks: A and B lie there
    bool beside_rows;      // likewise behind x's rows, or dy's: h and u lie there
    Matrix a, b;           // of the terms together: rows of ranks along in; rows out along the ranks
    float b_scale = 1;     // what b has not been multiplied by
    Matrix x;
    bool has_dropout;            // each term sees an x of its own
    T *dropped = nullptr;  // of the term that is at work

    // backward: whose matrices the call reads and writes; what else the descriptor holds is of no account.
    Call(State &s, const ml_lora_linear_desc &d, bool backward)
        : s(s), d(d), in(d.w->in_features), out(d.w->out_features), y_stride(stride_of(d.y_stride, out)),
          x(rows(d.x, dtype, stride_of(d.x_stride, in))), has_dropout(d.rank > 0 && dropout_rate(d.dropout).threshold != 0) {
        tensor = dtype == ML_BF16 && d.w->storage_dtype == ML_BF16
            && (backward ? packable<8>(in | out | d.x_stride | d.y_stride, d.x, d.dy, d.dx)
                         : packable<8>(in | out | d.x_stride | d.y_stride, d.x, d.y, d.residual));
        padded = tensor ? round_up(d.rank, 8) : d.rank, ranks = d.terms * padded;
        beside_weight = tensor && d.slots * ranks <= WeightLayout(*d.w).tail;
        beside_rows = tensor && d.slots * ranks <= d.spare;
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

    // ---- the adapter's matrices ----

    enum Wanted { kA = 1, kB = 2, kH = 4 };

    // What is wanted of A, B and h in bf16, h to `low`. below: A belongs below the
    // weight's rows, as the backward's product takes it.
    cudaError_t prepare(int wanted, bool below, LowRows low = {}) {
        return tensor ? prepare_as<bf16>(ML_BF16, wanted, below, low) : prepare_as<float>(ML_F32, wanted, below, low);
    }
    template <class E> cudaError_t prepare_as(int32_t type, int wanted, bool below, LowRows low) {
        const ml_lora_term &only = d.term[0];
        if (!tensor && d.terms == 1 && only.rows == out) {  // as they lie
            a = rows(only.a, ML_F32, in), b = rows(only.b, ML_F32, d.rank), b_scale = d.scale;
            a.slot = b.slot = d.slot_stride;
            return cudaSuccess;
        }
        const WeightLayout layout(*d.w);
        auto *data = static_cast<E *>(d.w->data);
        Place<E> a_to, b_to;
        if (wanted & kA) {
            if (below && beside_weight) a_to = {data + out * layout.stride, layout.stride, ranks * layout.stride};
            else a_to = {s.take<E>(d.slots * ranks * in), in, ranks * in};
            a = a_to.matrix(type);
        }
        if (wanted & kB) {
            if (beside_weight) b_to = {data + in, layout.stride, ranks};
            else b_to = {s.take<E>(d.slots * out * ranks), ranks, out * ranks};
            b = b_to.matrix(type);
        }
        if (!(wanted & kH)) low = {};
        const int64_t count = (a_to.to == nullptr ? 0 : ranks * in) + (b_to.to == nullptr ? 0 : out * ranks) + (low.data == nullptr ? 0 : d.tokens * ranks);
        if (count == 0) return cudaSuccess;
        return launch(prepare_kernel<E>, Grid(blocks_for(count, kThreads), d.slots), dim3(kThreads), 0, s.stream, d, in, out, padded, a_to, b_to, low);
    }

    // Where h, behind x's rows of `width`, or u, behind dy's, goes.
    LowRows low_rows(const void *beside, int64_t width, int64_t stride) {
        if (beside_rows) return {const_cast<bf16 *>(static_cast<const bf16 *>(beside)) + width, stride, ranks};
        return {s.take<bf16>(d.tokens * ranks), ranks, 0};
    }
    LowRows rows_of_h() { return low_rows(d.x, in, x.row_stride); }
    LowRows rows_of_u() { return low_rows(d.dy, out, y_stride); }

    // ---- products ----

    // What a term's adapter sees, once it has been dropped from: x after the term's dropout.
    Matrix seen() const { return has_dropout ? rows(dropped, dtype, in) : x; }
    cudaError_t drop(int64_t t) {
        if (!has_dropout) return cudaSuccess;
        if (dropped == nullptr) dropped = s.take<T>(d.tokens * in);
        return launch(drop_kernel<T>, Grid(blocks_for(d.tokens * ((in + 3) / 4), kThreads)), dim3(kThreads), 0, s.stream,
                      static_cast<const T *>(d.x), x.row_stride, dropped, d.tokens, in, d.seed, d.term[t].stream, dropout_rate(d.dropout));
    }

    // h = A x, in float and, for tensor cores, in bf16: one product, or one a term where each sees another x or the ranks of bf16
    // are padded.
    cudaError_t shrink(LowRows low) {
        const bool together = padded == d.rank && !has_dropout;
        for (int64_t t = 0; t < (together ? 1 : d.terms); t++) {
            if (const cudaError_t error = drop(t); error != cudaSuccess) return error;
            Product h = over_tokens(together ? ranks : d.rank);
            h.factor[0] = {seen(), from(a, t * padded, 0), in, true, 1};
            h.out = d.h + t * d.rank, h.out_dtype = ML_F32, h.out_stride = d.terms * d.rank, h.fault = s.fault;
            h.rounded = low, h.rounded_columns = together ? ranks : padded;
            if (low.data != nullptr) h.rounded.data += t * padded;
            if (const cudaError_t error = product(h, s.stream); error != cudaSuccess) return error;
        }
        return cudaSuccess;
    }

    // For the kernel that writes x.
    Shrink for_maker(LowRows low) const {
        Shrink p;
        p.a = a, p.h = d.h, p.low = low;
        p.slot_offsets = d.slot_offsets, p.slots = d.slots, p.tokens = d.tokens, p.fault = s.fault;
        p.terms = static_cast<int>(d.terms), p.rank = static_cast<int>(d.rank), p.padded = static_cast<int>(padded);
        p.fusible = tensor && ranks <= kMostShrunkRanks;
        return p;
    }

    cudaError_t by_weight(const Product &p, bool transposed, const LowRank *low) {
        return tensor ? matmul(s, p, transposed, low) : product(p, s.stream);
    }

    // Tokens of a part of a split-K sum that `tiles` blocks take: as few as there are blocks for in one wave.
    int64_t tokens_of_part(int64_t tiles) const {
        const int64_t part = round_up(blocks_for(d.tokens, parts_at_once(tiles)), 64);
        return part < kSmallestPart ? kSmallestPart : part;
    }
    int64_t parts_at_once(int64_t tiles) const { return s.blocks < 2 * tiles ? 1 : s.blocks / tiles; }
    // Room for the parts. What is enough for some tokens is enough for fewer, so that a plan for the largest pack holds for all.
    int64_t most_parts(int64_t tiles) const {
        const int64_t smallest = d.tokens / kSmallestPart, at_once = parts_at_once(tiles);
        return (smallest < at_once ? smallest : at_once) + d.slots;
    }

    // gradient += left^T right over each slot's tokens, split-K.
    cudaError_t sum_over_tokens(Matrix left, int64_t m, Matrix right, int64_t n, float alpha, const Gradients &gradients) {
        const int64_t tiles = tiles_of(tensor, m, n);
        Product p;
        p.m = m, p.n = n, p.tokens = d.tokens, p.slot_offsets = d.slot_offsets, p.slots = d.slots, p.out_stride = n;
        p.part = tokens_of_part(tiles);
        p.out = s.take<float>(most_parts(tiles) * m * n);
        p.factor[0] = {transposed(left), transposed(right), d.tokens, false, 1};
        p.alpha = alpha;
        const cudaError_t error = product(p, s.stream);
        if (error != cudaSuccess) return error;
        return launch(add_parts_kernel, Grid(blocks_for(m * n, kThreads), d.slots), dim3(kThreads), 0, s.stream, p, gradients, d.slot_stride);
    }

    // dA = u x^T: of all terms from one pass over x where they see the same one.
    cudaError_t input_backward(Matrix u) {
        if (!has_dropout) return sum_over_tokens(u, ranks, x, in, 1, {{d.term[0].da, d.term[1].da, d.term[2].da}, d.rank, padded});
        for (int64_t t = 0; t < d.terms; t++) {
            cudaError_t error = drop(t);
            if (error == cudaSuccess) error = sum_over_tokens(from(u, 0, t * padded), padded, seen(), in, 1, {{d.term[t].da}, d.rank, padded});
            if (error != cudaSuccess) return error;
        }
        return cudaSuccess;
    }

    // dB, and u = scale B^T dy in bf16: from one pass over dY.
    cudaError_t output_backward_fused(Matrix h, LowRows u) {
        AdapterBackward p{};
        p.dy = static_cast<const bf16 *>(d.dy), p.h = static_cast<const bf16 *>(h.data), p.b = b, p.u = u;
        p.tokens = d.tokens, p.rank = d.rank, p.padded = padded, p.slots = d.slots, p.dy_stride = y_stride;
        int64_t tiles = 0;
        for (int64_t t = 0; t < d.terms; t++) {
            p.term[t] = {d.term[t].first, d.term[t].rows, d.term[t].db};
            tiles += blocks_for(d.term[t].rows, kAdapterColumns);
        }
        p.terms = d.terms, p.slot_stride = d.slot_stride, p.slot_offsets = d.slot_offsets, p.scale = d.scale, p.fault = s.fault;
        p.part = tokens_of_part(tiles);
        p.db_parts = s.take<float>(most_parts(tiles) * p.rows() * d.rank);
        return adapter_backward(s, p);
    }

    // The same of a term, in two passes.
    cudaError_t output_backward(int64_t t, Matrix h, Matrix u) {
        const ml_lora_term &term = d.term[t];
        const int64_t column = t * padded;
        const Matrix dy = from(this->dy(), 0, term.first), b_of_term = from(b, term.first, column);
        Product du = over_tokens(padded);
        du.factor[0] = {dy, transposed(b_of_term), term.rows, true, b_scale};
        du.out_dtype = ML_F32, du.fault = s.fault;
        if (tensor) {
            du.rounded = {const_cast<bf16 *>(static_cast<const bf16 *>(u.data)) + column, u.row_stride, u.slot}, du.rounded_columns = padded;
        } else {
            du.out = const_cast<float *>(static_cast<const float *>(u.data)) + column, du.out_stride = ranks;
        }
        const cudaError_t error = product(du, s.stream);
        if (error != cudaSuccess) return error;
        return sum_over_tokens(dy, term.rows, from(h, 0, column), d.rank, d.scale, {{term.db}, term.rows, term.rows});
    }

    bool fuses_output_backward() const {
        bool fits = tensor && d.rank <= kMostFusedRank;
        for (int64_t t = 0; t < d.terms; t++) fits = fits && d.term[t].first % 8 == 0;
        return fits;
    }
};

}  // namespace

template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d, const MakeInput &make_x) {
    if (d.tokens == 0) return cudaSuccess;
    using C = Call<T>;
    C call(s, d, false);
    Product y = call.over_tokens(call.out);
    y.factor[0] = {call.x, call.weight(), call.in, false, 1};
    y.bias = d.bias, y.residual = d.residual, y.out = d.y, y.out_stride = call.y_stride;
    if (d.rank == 0) return call.by_weight(y, false, nullptr);

    const LowRows h = call.tensor ? call.rows_of_h() : LowRows{};
    cudaError_t error = call.prepare(C::kA | C::kB, false);
    bool shrunk = false;
    if (error == cudaSuccess && make_x) error = make_x(call.for_maker(h), shrunk);
    if (error == cudaSuccess && !shrunk) error = call.shrink(h);
    if (error != cudaSuccess) return error;
    if (call.tensor) {
        const LowRank low = {h.matrix(), call.b, call.ranks, call.beside_rows, call.beside_weight};
        return call.by_weight(y, false, &low);
    }
    y.factor[1] = {call.rows(d.h, ML_F32, call.ranks), call.b, call.ranks, true, call.b_scale};
    y.factors = 2;
    return product(y, s.stream);
}

template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d) { return lora_linear_forward<T>(s, d, MakeInput()); }

template <class T> cudaError_t lora_linear_backward(State &s, const ml_lora_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    using C = Call<T>;
    C call(s, d, true);
    Product dx = call.over_tokens(call.in);
    dx.factor[0] = {call.dy(), C::transposed(call.weight()), call.out, false, 1};
    dx.out = d.dx, dx.accumulate = d.accumulate != 0;
    if (d.rank == 0) return d.dx == nullptr ? cudaSuccess : call.by_weight(dx, true, nullptr);

    Matrix h = call.rows(d.h, ML_F32, call.ranks);
    LowRows rounded_h, rounded_u;
    if (call.tensor) {
        rounded_h = {s.take<bf16>(d.tokens * call.ranks), call.ranks, 0}, rounded_u = call.rows_of_u();
        h = rounded_h.matrix();
    }
    cudaError_t error = call.prepare((d.dx == nullptr ? 0 : C::kA) | C::kB | C::kH, true, rounded_h);
    const Matrix u = call.tensor ? rounded_u.matrix() : call.rows(s.take<float>(d.tokens * call.ranks), ML_F32, call.ranks);
    if (call.fuses_output_backward()) {
        if (error == cudaSuccess) error = call.output_backward_fused(h, rounded_u);
    } else {
        for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) error = call.output_backward(t, h, u);
    }
    if (error != cudaSuccess) return error;
    if (d.term[0].da != nullptr) error = call.input_backward(u);
    if (error != cudaSuccess || d.dx == nullptr) return error;

    const LowRank low = {u, C::transposed(call.a), call.ranks, call.beside_rows, call.beside_weight};
    if (call.has_dropout) {
        error = call.by_weight(dx, true, nullptr);
        dx.accumulate = true, dx.dropout = dropout_rate(d.dropout), dx.seed = d.seed;
        for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) {
            const int64_t rank = t * call.padded;
            dx.factor[0] = {C::from(low.low, 0, rank), C::from(low.high, 0, rank), call.padded, true, 1};
            dx.stream = d.term[t].stream;
            error = product(dx, s.stream);
        }
        return error;
    }
    if (call.tensor) return call.by_weight(dx, true, &low);
    dx.factor[1] = {low.low, low.high, low.rank, true, 1}, dx.factors = 2;
    return product(dx, s.stream);
}

template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &, const MakeInput &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &, const MakeInput &);
template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<bf16>(State &, const ml_lora_linear_desc &);

}  // namespace cuda
}  // namespace metalora
