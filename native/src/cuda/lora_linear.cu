// The frozen Linear with its low-rank adapters (Hu et al. 2021), forward and backward, as products (product.h):
//   forward   h = A x (shrink), then y = W x + (scale B) h in the same accumulators
//   backward  u = scale B^T dy, dB = scale dy h^T, dA = u x^T, then dx = W^T dy + A^T u in the same accumulators
// A mixture has its router's rows below A's, and w (x) h in the place of h (mixture.h); a LoRA linear is one without a router.
// The terms' matrices are first put together as those of one adapter. On tensor cores they are bf16 and, where there is room, form a
// K-tail of the weight (WeightLayout), with h and u behind the rows of x and dy: [x, h] [W, scale B]^T and [dy, u] [W; A] are then
// one product each, cuBLASLt's or our own (matmul.h). The kernel that writes x may do the shrink (shrink.h); u and dB come from one
// pass over dY for ranks up to 32 (adapter_backward.cu).
#include "core/mixture.h"
#include "cuda/adapter_backward.h"
#include "cuda/kernels.h"
#include "cuda/matmul.h"
#include "cuda/mixture.h"
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

// Where each of a term's ranks is padded to: rows of A (with the router's), and columns of B.
struct Padded {
    int64_t a, b;
};

// The terms' matrices as those of one adapter: a[slot][terms * padded.a][in] = their A, each with its router below it, one below
// the other, b[slot][out][terms * padded.b] = scale B in the rows and columns of its term, zeros elsewhere; and the h of a LoRA
// linear, [tokens, terms * rank] in float, with zeros behind each term's ranks.
template <class E>
__global__ void prepare_kernel(const __grid_constant__ ml_mixture_linear_desc d, int64_t in, int64_t out, Padded padded,
                               Place<E> a, Place<E> b, LowRows h) {
    const int64_t slot = blockIdx.y;
    // What a slot without tokens holds is of no account: beside a weight it would meet other slots' zeros, and might not be finite.
    const Segment own = segment_of(d.slot_offsets, slot, d.tokens);
    const bool used = own.begin < own.end;
    int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (a.to != nullptr) {
        if (i < d.terms * padded.a * in) {
            const int64_t rank = i / in, feature = i % in, r = rank % padded.a, of_slot = slot * d.slot_stride + feature;
            const ml_mixture_term &t = d.term[rank / padded.a];
            float value = 0;
            if (used && r < d.rank) value = t.a[of_slot + r * in];
            else if (used && r < d.rank + d.heads) value = t.router[of_slot + (r - d.rank) * in];
            a.to[slot * a.of_slot + rank * a.row + feature] = from_float<E>(value);
            return;
        }
        i -= d.terms * padded.a * in;
    }
    const int64_t ranks = d.terms * padded.b;
    if (b.to != nullptr) {
        if (i < out * ranks) {
            const int64_t feature = i / ranks, rank = i % ranks, r = rank % padded.b, columns = b_columns(d);
            const ml_mixture_term &t = d.term[rank / padded.b];
            const int64_t row = feature - t.first;
            const bool there = used && r < columns && row >= 0 && row < t.rows;
            const float value = there ? d.scale * t.b[slot * d.slot_stride + row * columns + r] : 0.0f;
            b.to[slot * b.of_slot + feature * b.row + rank] = from_float<E>(value);
            return;
        }
        i -= out * ranks;
    }
    if (h.data == nullptr || slot > 0 || i >= d.tokens * ranks) return;
    const int64_t token = i / ranks, rank = i % ranks, r = rank % padded.b;
    const float value = r < d.rank ? d.h[(token * d.terms + rank / padded.b) * d.rank + r] : 0.0f;
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

// Where rows of a sum in parts are added: of each `padded` rows the first `rank` to one gradient, `heads` behind them to the
// router's. Those without a gradient are left out.
struct Gradients {
    float *to[ML_LORA_TERMS];
    int64_t rank, padded;
    float *router[ML_LORA_TERMS];
    int64_t heads;
};

// gradient[slot] += the slot's parts, in their order.
__global__ void add_parts_kernel(const __grid_constant__ Product p, const __grid_constant__ Gradients gradients, int64_t slot_stride) {
    const int64_t size = p.m * p.n, i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, slot = blockIdx.y;
    if (i >= size) return;
    const int64_t row = i / p.n, term = row / gradients.padded, r = row % gradients.padded, head = r - gradients.rank;
    float *gradient = head < 0 ? gradients.to[term] : head < gradients.heads ? gradients.router[term] : nullptr;
    const Segment tokens = segment_of(p.slot_offsets, slot, p.tokens);
    if (gradient == nullptr || tokens.begin == tokens.end) return;
    const float *parts = static_cast<const float *>(p.out) + first_part(tokens.begin, slot, p.part) * size + i;
    float sum = 0;
    for (int64_t at = tokens.begin; at < tokens.end; at += p.part, parts += size) sum += *parts;
    gradient[slot * slot_stride + (head < 0 ? r : head) * p.n + i % p.n] += sum;
}

// One call of the op: its matrices in the form its products take.
template <class T> struct Call {
    State &s;
    const ml_mixture_linear_desc &d;
    int64_t in, out;
    int64_t y_stride;      // of dy too
    int32_t dtype = sizeof(T) == 2 ? ML_BF16 : ML_F32;
    bool tensor;           // on tensor cores
    Padded padded, ranks;  // of a term, and of all of them
    bool a_beside_weight, b_beside_weight;  // there is room for all slots' ranks: A or B lies there
    Matrix a, b;           // of the terms together: rows of ranks along in; rows out along the ranks
    float b_scale = 1;     // what b has not been multiplied by
    Matrix x;
    bool has_dropout;            // each term sees an x of its own
    T *dropped = nullptr;  // of the term that is at work

    // backward: whose matrices the call reads and writes; what else the descriptor holds is of no account.
    Call(State &s, const ml_mixture_linear_desc &d, bool backward)
        : s(s), d(d), in(d.w->in_features), out(d.w->out_features), y_stride(stride_of(d.y_stride, out)),
          x(rows(d.x, dtype, stride_of(d.x_stride, in))), has_dropout(d.rank > 0 && dropout_rate(d.dropout).threshold != 0) {
        tensor = dtype == ML_BF16 && d.w->storage_dtype == ML_BF16
            && (backward ? packable<8>(in | out | d.x_stride | d.y_stride, d.x, d.dy, d.dx)
                         : packable<8>(in | out | d.x_stride | d.y_stride, d.x, d.y, d.residual));
        padded = {round_up(a_rows(d), tensor ? 8 : 1), round_up(b_columns(d), tensor ? 8 : 1)};
        ranks = {d.terms * padded.a, d.terms * padded.b};
        a_beside_weight = tensor && d.slots * ranks.a <= WeightLayout(*d.w).tail;
        b_beside_weight = tensor && d.slots * ranks.b <= WeightLayout(*d.w).tail;
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
        const ml_mixture_term &only = d.term[0];
        if (!tensor && d.terms == 1 && d.heads == 0 && only.rows == out) {  // as they lie
            a = rows(only.a, ML_F32, in), b = rows(only.b, ML_F32, d.rank), b_scale = d.scale;
            a.slot = b.slot = d.slot_stride;
            return cudaSuccess;
        }
        const WeightLayout layout(*d.w);
        auto *data = static_cast<E *>(d.w->data);
        Place<E> a_to, b_to;
        if (wanted & kA) {
            if (below && a_beside_weight) a_to = {data + out * layout.stride, layout.stride, ranks.a * layout.stride};
            else a_to = {s.take<E>(d.slots * ranks.a * in), in, ranks.a * in};
            a = a_to.matrix(type);
        }
        if (wanted & kB) {
            if (b_beside_weight) b_to = {data + in, layout.stride, ranks.b};
            else b_to = {s.take<E>(d.slots * out * ranks.b), ranks.b, out * ranks.b};
            b = b_to.matrix(type);
        }
        if (!(wanted & kH)) low = {};
        const int64_t count = (a_to.to == nullptr ? 0 : ranks.a * in) + (b_to.to == nullptr ? 0 : out * ranks.b)
            + (low.data == nullptr ? 0 : d.tokens * ranks.b);
        if (count == 0) return cudaSuccess;
        return launch(prepare_kernel<E>, Grid(blocks_for(count, kThreads), d.slots), dim3(kThreads), 0, s.stream, d, in, out, padded, a_to, b_to, low);
    }

    // Low-rank rows behind the rows of `width`, if there is room for those of all slots, or elsewhere. h goes behind x's, u
    // behind dy's.
    LowRows low_rows(const void *beside, int64_t width, int64_t stride, int64_t ranks) {
        if (d.slots * ranks <= d.spare) return {const_cast<bf16 *>(static_cast<const bf16 *>(beside)) + width, stride, ranks};
        return {s.take<bf16>(d.tokens * ranks), ranks, 0};
    }
    LowRows rows_of_h() { return low_rows(d.x, in, x.row_stride, ranks.b); }
    LowRows rows_of_u() { return low_rows(d.dy, out, y_stride, ranks.a); }

    // Low-rank rows of the type that the call's products take.
    TermRows term_rows(int64_t padded) {
        if (tensor) return {{s.take<bf16>(d.tokens * d.terms * padded), d.terms * padded, 0}, nullptr, padded};
        return {{}, s.take<float>(d.tokens * d.terms * padded), padded};
    }
    Matrix matrix(const TermRows &r) const { return tensor ? r.rounded.matrix() : rows(r.full, ML_F32, d.terms * r.padded); }

    // ---- products ----

    // What a term's adapter sees, once it has been dropped from: x after the term's dropout.
    Matrix seen() const { return has_dropout ? rows(dropped, dtype, in) : x; }
    cudaError_t drop(int64_t t) {
        if (!has_dropout) return cudaSuccess;
        if (dropped == nullptr) dropped = s.take<T>(d.tokens * in);
        return launch(drop_kernel<T>, Grid(blocks_for(d.tokens * ((in + 3) / 4), kThreads)), dim3(kThreads), 0, s.stream,
                      static_cast<const T *>(d.x), x.row_stride, dropped, d.tokens, in, d.seed, d.term[t].stream, dropout_rate(d.dropout));
    }

    // Rows of A from `first` on times what they see.
    Product by_a(Matrix seen, int64_t first, int64_t n, float *to, int64_t stride) const {
        Product p = over_tokens(n);
        p.factor[0] = {seen, from(a, first, 0), in, true, 1};
        p.out = to, p.out_dtype = ML_F32, p.out_stride = stride, p.fault = s.fault;
        return p;
    }

    // h = A x, in float and, for tensor cores, in bf16: one product, or one a term where each sees another x or the ranks of bf16
    // are padded.
    cudaError_t shrink(LowRows low) {
        const bool together = padded.a == d.rank && !has_dropout;
        for (int64_t t = 0; t < (together ? 1 : d.terms); t++) {
            if (const cudaError_t error = drop(t); error != cudaSuccess) return error;
            Product h = by_a(seen(), t * padded.a, together ? ranks.a : d.rank, d.h + t * d.rank, d.terms * d.rank);
            h.rounded = low, h.rounded_columns = together ? ranks.a : padded.a;
            if (low.data != nullptr) h.rounded.data += t * padded.a;
            if (const cudaError_t error = product(h, s.stream); error != cudaSuccess) return error;
        }
        return cudaSuccess;
    }

    // A mixture's h, its weights, and w (x) h: all terms' A and routers times x in one product; dropout replaces A's part of it.
    cudaError_t shrink_and_mix(const TermRows &mixed) {
        auto *z = s.take<float>(d.tokens * ranks.a);
        cudaError_t error = product(by_a(x, 0, ranks.a, z, ranks.a), s.stream);
        for (int64_t t = 0; has_dropout && t < d.terms && error == cudaSuccess; t++) {
            error = drop(t);
            if (error == cudaSuccess) error = product(by_a(seen(), t * padded.a, d.rank, z + t * padded.a, ranks.a), s.stream);
        }
        return error != cudaSuccess ? error : mix(d, z, padded.a, mixed, s.stream);
    }

    // For the kernel that writes x.
    Shrink for_maker(LowRows low) const {
        Shrink p;
        p.a = a, p.h = d.h, p.low = low;
        p.slot_offsets = d.slot_offsets, p.slots = d.slots, p.tokens = d.tokens, p.fault = s.fault;
        p.terms = static_cast<int>(d.terms), p.rank = static_cast<int>(d.rank), p.padded = static_cast<int>(padded.a);
        p.fusible = tensor && ranks.a <= kMostShrunkRanks;
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

    // dA = u x^T, and the router's gradient likewise: of all terms from one pass over x, but dA from what each term's dropout
    // left of x. Null: nothing of it is asked for; what one product gives beside what is, is not added.
    cudaError_t input_backward(const Matrix *direct, const Matrix *masked, int64_t masked_padded) {
        cudaError_t error = cudaSuccess;
        if (direct != nullptr) {
            Gradients to{{}, d.rank, padded.a, {}, d.heads};
            for (int64_t t = 0; t < d.terms; t++) {
                to.to[t] = has_dropout ? nullptr : d.term[t].da, to.router[t] = d.term[t].drouter;
            }
            error = sum_over_tokens(*direct, ranks.a, x, in, 1, to);
        }
        for (int64_t t = 0; masked != nullptr && t < d.terms && error == cudaSuccess; t++) {
            error = drop(t);
            if (error != cudaSuccess) break;
            const Gradients to{{d.term[t].da}, d.rank, masked_padded, {}, 0};
            error = sum_over_tokens(from(*masked, 0, t * masked_padded), masked_padded, seen(), in, 1, to);
        }
        return error;
    }

    // dB, and u = scale B^T dy, in bf16 or, with full_u, in float: from one pass over dY.
    cudaError_t output_backward_fused(Matrix h, LowRows u, float *full_u) {
        AdapterBackward p{};
        p.dy = static_cast<const bf16 *>(d.dy), p.h = static_cast<const bf16 *>(h.data), p.b = b, p.u = u, p.full_u = full_u;
        p.tokens = d.tokens, p.rank = b_columns(d), p.padded = padded.b, p.slots = d.slots, p.dy_stride = y_stride;
        int64_t tiles = 0;
        for (int64_t t = 0; t < d.terms; t++) {
            p.term[t] = {d.term[t].first, d.term[t].rows, d.term[t].db};
            tiles += blocks_for(d.term[t].rows, kAdapterColumns);
        }
        p.terms = d.terms, p.slot_stride = d.slot_stride, p.slot_offsets = d.slot_offsets, p.scale = d.scale, p.fault = s.fault;
        p.part = tokens_of_part(tiles);
        p.db_parts = s.take<float>(most_parts(tiles) * p.rows() * p.rank);
        return adapter_backward(s, p);
    }

    // The same of a term, in two passes.
    cudaError_t output_backward(int64_t t, Matrix h, LowRows u, float *full_u) {
        const ml_mixture_term &term = d.term[t];
        const int64_t column = t * padded.b;
        const Matrix dy = from(this->dy(), 0, term.first), b_of_term = from(b, term.first, column);
        Product du = over_tokens(padded.b);
        du.factor[0] = {dy, transposed(b_of_term), term.rows, true, b_scale};
        du.out_dtype = ML_F32, du.fault = s.fault;
        if (full_u != nullptr) du.out = full_u + column, du.out_stride = ranks.b;
        else du.rounded = {u.data + column, u.stride, u.slot}, du.rounded_columns = padded.b;
        const cudaError_t error = product(du, s.stream);
        if (error != cudaSuccess) return error;
        const Gradients to{{term.db}, term.rows, term.rows, {}, 0};
        return sum_over_tokens(dy, term.rows, from(h, 0, column), b_columns(d), d.scale, to);
    }

    // Of all terms. h: in the type that products take.
    cudaError_t output_backward(Matrix h, LowRows u, float *full_u) {
        if (fuses_output_backward()) return output_backward_fused(h, u, full_u);
        cudaError_t error = cudaSuccess;
        for (int64_t t = 0; t < d.terms && error == cudaSuccess; t++) error = output_backward(t, h, u, full_u);
        return error;
    }

    bool fuses_output_backward() const {
        bool fits = tensor && b_columns(d) <= kMostFusedRank;
        for (int64_t t = 0; t < d.terms; t++) fits = fits && d.term[t].first % 8 == 0;
        return fits;
    }
};

// make_x: writes x first, if there is one.
template <class T> cudaError_t forward(State &s, const ml_mixture_linear_desc &d, const MakeInput &make_x) {
    if (d.tokens == 0) return cudaSuccess;
    using C = Call<T>;
    C call(s, d, false);
    Product y = call.over_tokens(call.out);
    y.factor[0] = {call.x, call.weight(), call.in, false, 1};
    y.bias = d.bias, y.residual = d.residual, y.out = d.y, y.out_stride = call.y_stride;
    if (d.rank == 0) return call.by_weight(y, false, nullptr);

    const LowRows h = call.tensor ? call.rows_of_h() : LowRows{};
    float *full_h = call.tensor ? nullptr : d.heads > 0 ? s.take<float>(d.tokens * call.ranks.b) : d.h;
    cudaError_t error = call.prepare(C::kA | C::kB, false);
    bool shrunk = false;
    if (error == cudaSuccess && make_x) error = make_x(call.for_maker(h), shrunk);
    if (error == cudaSuccess && !shrunk) error = d.heads > 0 ? call.shrink_and_mix({h, full_h, call.padded.b}) : call.shrink(h);
    if (error != cudaSuccess) return error;
    if (call.tensor) {
        const LowRank low = {h.matrix(), call.b, call.ranks.b, h.slot > 0, call.b_beside_weight};
        return call.by_weight(y, false, &low);
    }
    y.factor[1] = {call.rows(full_h, ML_F32, call.ranks.b), call.b, call.ranks.b, true, call.b_scale};
    y.factors = 2;
    return product(y, s.stream);
}

template <class T> cudaError_t backward(State &s, const ml_mixture_linear_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    using C = Call<T>;
    C call(s, d, true);
    Product dx = call.over_tokens(call.in);
    dx.factor[0] = {call.dy(), C::transposed(call.weight()), call.out, false, 1};
    dx.out = d.dx, dx.accumulate = d.accumulate != 0;
    if (d.rank == 0) return d.dx == nullptr ? cudaSuccess : call.by_weight(dx, true, nullptr);

    // What B's columns meet: h as products take it, or w (x) h.
    TermRows h{{}, d.h, call.padded.b};
    if (call.tensor || d.heads > 0) h = call.term_rows(call.padded.b);
    // What the rows of A and of the router meet that saw x itself, and what those of A meet that saw x after dropout: u, or what
    // the heads make of it.
    const bool mixture = d.heads > 0;
    const TermRows direct = call.tensor ? TermRows{call.rows_of_u(), nullptr, call.padded.a} : call.term_rows(call.padded.a);
    TermRows masked = direct;
    if (mixture && call.has_dropout) masked = call.term_rows(round_up(d.rank, call.tensor ? 8 : 1));
    float *full_u = mixture ? s.take<float>(d.tokens * call.ranks.b) : direct.full;

    cudaError_t error = call.prepare((d.dx == nullptr ? 0 : C::kA) | C::kB | (mixture ? 0 : C::kH), true, h.rounded);
    if (error == cudaSuccess && mixture) error = mix(d, nullptr, 0, h, s.stream);
    if (error == cudaSuccess) error = call.output_backward(call.matrix(h), direct.rounded, full_u);
    if (error == cudaSuccess && mixture) {
        error = unmix(d, full_u, call.padded.b, direct, call.has_dropout ? masked : TermRows{}, s.stream);
    }
    if (error != cudaSuccess) return error;
    const Matrix of_direct = call.matrix(direct), of_masked = call.matrix(masked);
    const bool tail = mixture || !call.has_dropout;  // rows that saw x itself
    const bool has_da = d.term[0].da != nullptr, has_drouter = d.term[0].drouter != nullptr;
    const bool wants_direct = has_drouter || (has_da && !call.has_dropout), wants_masked = has_da && call.has_dropout;
    error = call.input_backward(wants_direct ? &of_direct : nullptr, wants_masked ? &of_masked : nullptr, masked.padded);
    if (error != cudaSuccess || d.dx == nullptr) return error;

    const LowRank low = {of_direct, C::transposed(call.a), call.ranks.a, direct.rounded.slot > 0, call.a_beside_weight};
    if (!call.tensor && tail) dx.factor[1] = {low.low, low.high, low.rank, true, 1}, dx.factors = 2;
    error = call.by_weight(dx, true, tail ? &low : nullptr);
    dx.accumulate = true, dx.dropout = dropout_rate(d.dropout), dx.seed = d.seed, dx.factors = 1;
    for (int64_t t = 0; call.has_dropout && t < d.terms && error == cudaSuccess; t++) {
        const Matrix d_h = C::from(of_masked, 0, t * masked.padded), a = C::from(low.high, 0, t * call.padded.a);
        dx.factor[0] = {d_h, a, masked.padded, true, 1};
        dx.stream = d.term[t].stream;
        error = product(dx, s.stream);
    }
    return error;
}

}  // namespace

template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d, const MakeInput &make_x) {
    return forward<T>(s, without_router(d), make_x);
}
template <class T> cudaError_t lora_linear_forward(State &s, const ml_lora_linear_desc &d) {
    return forward<T>(s, without_router(d), MakeInput());
}
template <class T> cudaError_t lora_linear_backward(State &s, const ml_lora_linear_desc &d) {
    return backward<T>(s, without_router(d));
}
template <class T> cudaError_t mixture_linear_forward(State &s, const ml_mixture_linear_desc &d) {
    return forward<T>(s, d, MakeInput());
}
template <class T> cudaError_t mixture_linear_backward(State &s, const ml_mixture_linear_desc &d) {
    return backward<T>(s, d);
}

template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &, const MakeInput &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &, const MakeInput &);
template cudaError_t lora_linear_forward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_forward<bf16>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<float>(State &, const ml_lora_linear_desc &);
template cudaError_t lora_linear_backward<bf16>(State &, const ml_lora_linear_desc &);
template cudaError_t mixture_linear_forward<float>(State &, const ml_mixture_linear_desc &);
template cudaError_t mixture_linear_forward<bf16>(State &, const ml_mixture_linear_desc &);
template cudaError_t mixture_linear_backward<float>(State &, const ml_mixture_linear_desc &);
template cudaError_t mixture_linear_backward<bf16>(State &, const ml_mixture_linear_desc &);

}  // namespace cuda
}  // namespace metalora
