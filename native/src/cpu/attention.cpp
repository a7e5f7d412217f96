// Causal grouped-query attention over packed sequences, with online softmax (Milakov and Gimelshein 2018; Dao 2022)
// and a backward that recomputes the weights from the log-sum-exp.
//
// Work is cut into tiles of kQueries queries (of one head) by kKeys keys. Every product is a small register-blocked
// matrix product whose right-hand operand is read along vectors: keys (and values, backward) are transposed into
// panels once a key block, which all query heads of a group then share. The other operands are used where they lie.
#include <string.h>

#include "core/stride.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

namespace {

constexpr int64_t kQueries = 24;             // rows of a tile
constexpr int64_t kKeys = 64;                // columns of a tile
constexpr int64_t kKeyPanel = 2 * kWidth;       // keys of a transposed panel
constexpr int kRows = 6;                     // rows of a register block: 6 x 2 accumulators
constexpr int64_t kChunkTiles = 6;           // query tiles that share a transposed key block, forward
constexpr int64_t kDirectRows = 8;           // fewer rows than that do without transposing (decoding)
constexpr float kMinusInfinity = -__builtin_inff();

static_assert(kKeys % kKeyPanel == 0, "a key block is whole panels");

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- small matrix products --------------------------------------------------------------------------------------

// C[m, n] (+)= sum over k of A[m, k] B[k, n], with A[m, k] at a[m * row + k * column].
struct Left {
    const float *a;
    int64_t row, column;
};

template <int kM, int kN>
inline __attribute__((always_inline)) void block(Left left, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t k,
                                                 bool accumulate) {
    Vec sum[kM][kN];
#pragma GCC unroll 8
    for (int m = 0; m < kM; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < kN; n++) sum[m][n] = accumulate ? load(c + m * ldc + n * kWidth) : zero();
    }
    const float *a = left.a;
    for (int64_t i = 0; i < k; i++) {
        Vec right[kN];
#pragma GCC unroll 2
        for (int n = 0; n < kN; n++) right[n] = load(b + n * kWidth);
#pragma GCC unroll 8
        for (int m = 0; m < kM; m++) {
            const Vec x = broadcast(a[m * left.row]);
#pragma GCC unroll 2
            for (int n = 0; n < kN; n++) sum[m][n] = fma(x, right[n], sum[m][n]);
        }
        a += left.column;
        b += ldb;
    }
#pragma GCC unroll 8
    for (int m = 0; m < kM; m++) {
#pragma GCC unroll 2
        for (int n = 0; n < kN; n++) store(c + m * ldc + n * kWidth, sum[m][n]);
    }
}

template <int kN>
void columns(Left left, int64_t rows, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t k, bool accumulate) {
    int64_t m = 0;
    for (; m + kRows <= rows; m += kRows) {
        block<kRows, kN>({left.a + m * left.row, left.row, left.column}, b, ldb, c + m * ldc, ldc, k, accumulate);
    }
    const Left rest = {left.a + m * left.row, left.row, left.column};
    c += m * ldc;
    switch (rows - m) {
        case 1: block<1, kN>(rest, b, ldb, c, ldc, k, accumulate); break;
        case 2: block<2, kN>(rest, b, ldb, c, ldc, k, accumulate); break;
        case 3: block<3, kN>(rest, b, ldb, c, ldc, k, accumulate); break;
        case 4: block<4, kN>(rest, b, ldb, c, ldc, k, accumulate); break;
        case 5: block<5, kN>(rest, b, ldb, c, ldc, k, accumulate); break;
        default: break;
    }
}

// B row-major; n is a multiple of kWidth.
void multiply(Left left, int64_t rows, const float *b, int64_t ldb, int64_t n, float *c, int64_t ldc, int64_t k,
              bool accumulate) {
    int64_t at = 0;
    for (; at + 2 * kWidth <= n; at += 2 * kWidth) columns<2>(left, rows, b + at, ldb, c + at, ldc, k, accumulate);
    if (at < n) columns<1>(left, rows, b + at, ldb, c + at, ldc, k, accumulate);
}

// B as panels [k][kKeyPanel]; c receives panels [first, last) of them at their columns.
void multiply_panels(Left left, int64_t rows, const float *panels, int64_t first, int64_t last, float *c, int64_t k) {
    for (int64_t p = first; p < last; p++) {
        columns<2>(left, rows, panels + p * k * kKeyPanel, kKeyPanel, c + p * kKeyPanel, kKeys, k, false);
    }
}

// Rows [0, n) of x, `stride` apart and `width` (a multiple of 4) long, into panels [width][kKeyPanel]. Columns behind n
// are left as they are: what comes of them is masked or never read.
void transpose_to_panels(const float *x, int64_t stride, int64_t n, int64_t width, float *panels) {
    typedef float Float4 __attribute__((vector_size(16)));
    for (int64_t at = 0; at < n; at += 4) {
        float *to = panels + at / kKeyPanel * width * kKeyPanel + at % kKeyPanel;
        for (int64_t c = 0; c < width; c += 4) {
            Float4 r[4] = {};
            for (int i = 0; i < 4; i++) {
                if (at + i < n) memcpy(&r[i], x + (at + i) * stride + c, sizeof r[i]);
            }
            const Float4 low01 = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
            const Float4 low23 = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
            const Float4 high01 = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
            const Float4 high23 = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
            const Float4 t[4] = {__builtin_shufflevector(low01, low23, 0, 1, 4, 5),
                                 __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
                                 __builtin_shufflevector(high01, high23, 0, 1, 4, 5),
                                 __builtin_shufflevector(high01, high23, 2, 3, 6, 7)};
            for (int i = 0; i < 4; i++) memcpy(to + (c + i) * kKeyPanel, &t[i], sizeof t[i]);
        }
    }
}

float dot(const float *a, const float *b, int64_t n) {
    Vec s0 = zero(), s1 = zero();
    int64_t i = 0;
    for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
        s0 = fma(load(a + i), load(b + i), s0);
        s1 = fma(load(a + i + kWidth), load(b + i + kWidth), s1);
    }
    if (i < n) s0 = fma(load(a + i), load(b + i), s0);
    return sum(s0 + s1);
}

// ---- shapes -----------------------------------------------------------------------------------------------------

// The tensors of an op with head_dim padded to whole vectors, and the numbers every tile needs.
struct Problem {
    const float *q, *k, *v, *d_o;
    float *o, *dq, *dk, *dv;
    const float *lse, *delta;  // backward
    float *lse_out;            // forward
    const int32_t *q_offsets, *kv_offsets;
    int64_t sequences, heads, kv_heads, group, head_dim, window;
    int64_t q_stride, kv_stride;  // floats from token to token
    float scale;

    int64_t queries(int64_t s) const { return q_offsets[s + 1] - q_offsets[s]; }
    int64_t keys(int64_t s) const { return kv_offsets[s + 1] - kv_offsets[s]; }
};

// Keys [first, last) that query i sees; i counts as if there were as many queries as keys.
struct Range {
    int64_t first, last;
};

Range visible(const Problem &p, int64_t i, int64_t keys) {
    return {p.window > 0 ? larger(0, i - p.window + 1) : 0, smaller(i + 1, keys)};
}

// What queries [i0, i1) see of keys [j0, j1), relative to j0.
Range visible_of_block(const Problem &p, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    return {larger(visible(p, i0, j1).first - j0, 0), larger(visible(p, i1 - 1, j1).last - j0, 0)};
}

// Score row of query i for keys [j0, j1), computed in panels [first, last): masked entries become -infinity.
// Gives what the query sees of it.
Range mask_row(const Problem &p, int64_t i, int64_t j0, int64_t j1, int64_t first, int64_t last, float *row) {
    Range seen = visible(p, i, j1);
    seen.first = larger(seen.first - j0, first * kKeyPanel);
    seen.last = smaller(seen.last - j0, last * kKeyPanel);
    if (seen.first >= seen.last) return {0, 0};
    for (int64_t j = first * kKeyPanel; j < seen.first; j++) row[j] = kMinusInfinity;
    for (int64_t j = seen.last; j < last * kKeyPanel; j++) row[j] = kMinusInfinity;
    return seen;
}

// A piece of the op that runs on its own: queries [first, last) of a sequence and key/value head forward, keys
// [first, last) backward.
struct Piece {
    int32_t sequence, kv_head;
    int32_t first, last;
    int32_t copy;  // backward: which partial dq the piece adds to; 0 is dq itself
    int32_t reserved;
    double cost;
};

// Cuts pieces into runs of about equal cost, one for each part: bounds[parts + 1].
void balance(const Piece *pieces, int64_t count, int parts, int64_t *bounds) {
    double total = 0, done = 0;
    for (int64_t i = 0; i < count; i++) total += pieces[i].cost;
    int64_t at = 0;
    for (int part = 0; part < parts; part++) {
        bounds[part] = at;
        while (at < count && done + pieces[at].cost / 2 < total * (part + 1) / parts) done += pieces[at++].cost;
    }
    bounds[parts] = count;
}

int parts_for(const Context &context, int64_t pieces) {
    return static_cast<int>(smaller(pieces, cpu_threads(context) == 1 ? 1 : 4 * static_cast<int64_t>(cpu_threads(context))));
}

// ---- heads brought together, head_dim padded to whole vectors ---------------------------------------------------

// Heads of `width` in rows `stride` apart.
struct Heads {
    int64_t tokens, heads, width, stride;
    int64_t rows() const { return tokens * heads; }
    int64_t at(int64_t row) const { return row / heads * stride + row % heads * width; }
};

Heads heads_of(int64_t tokens, int64_t heads, int64_t width, int64_t stride) {
    return {tokens, heads, width, stride_of(stride, heads * width)};
}

// To dense rows of heads of `padded`, zeros behind each. nullptr when there is no memory.
float *pad(Context &context, const void *x, const Heads &h, int64_t padded) {
    float *to = scratch_floats(context, h.rows() * padded);
    if (to == nullptr) return nullptr;
    const float *from = static_cast<const float *>(x);
    const int64_t width = h.width;
    parallel_ranges(context, h.rows(), padded, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; row++) {
            memcpy(to + row * padded, from + h.at(row), static_cast<size_t>(width) * sizeof(float));
            memset(to + row * padded + width, 0, static_cast<size_t>(padded - width) * sizeof(float));
        }
    });
    return to;
}

void unpad(Context &context, const float *from, void *x, const Heads &h, int64_t padded) {
    float *to = static_cast<float *>(x);
    parallel_ranges(context, h.rows(), padded, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; row++) {
            memcpy(to + h.at(row), from + row * padded, static_cast<size_t>(h.width) * sizeof(float));
        }
    });
}

// ---- forward ----------------------------------------------------------------------------------------------------

struct ForwardScratch {
    float *panels;   // [head_dim][kKeys] in panels
    float *scores;   // [kQueries][kKeys]
    float *highest;  // [group][kChunkTiles * kQueries]
    float *sum;      // likewise

    static int64_t floats(const Problem &p) {
        return p.head_dim * kKeys + kQueries * kKeys + 2 * p.group * kChunkTiles * kQueries;
    }
    ForwardScratch(const Problem &p, float *memory)
        : panels(memory), scores(panels + p.head_dim * kKeys), highest(scores + kQueries * kKeys),
          sum(highest + p.group * kChunkTiles * kQueries) {}
};

// Turns the scores of columns [first, seen) into weights e^(scale * score - highest), zeros up to `last`, and keeps the
// running maximum and sum of the row; output that is already there is scaled to the new maximum. Columns are whole vectors.
void softmax_row(float *row, int64_t first, int64_t seen, int64_t last, float scale, float &highest, float &total, float *o,
                 int64_t width) {
    const Vec factor = broadcast(scale);
    Vec most = load(row + first) * factor;
    for (int64_t j = first + kWidth; j < seen; j += kWidth) most = max(most, load(row + j) * factor);
    const float old = highest, here = max_of(most), now = here > old ? here : old;
    const Vec shift = broadcast(-now);
    Vec sums = zero();
    for (int64_t j = first; j < seen; j += kWidth) {
        const Vec weight = exp(fma(load(row + j), factor, shift));
        store(row + j, weight);
        sums = sums + weight;
    }
    for (int64_t j = seen; j < last; j += kWidth) store(row + j, zero());
    highest = now;
    if (old == kMinusInfinity) {
        total = sum(sums);
    } else if (old == now) {
        total += sum(sums);
    } else {
        float keep[kWidth];
        store(keep, exp(broadcast(old - now)));
        total = total * keep[0] + sum(sums);
        const Vec shrink = broadcast(keep[0]);
        for (int64_t c = 0; c < width; c += kWidth) store(o + c, load(o + c) * shrink);
    }
}

void forward_piece(const Problem &p, const Piece &piece, const ForwardScratch &s) {
    const int64_t queries = piece.last - piece.first, keys = p.keys(piece.sequence);
    const int64_t shift = keys - p.queries(piece.sequence);  // query i sits at position i + shift among the keys
    const int64_t head0 = piece.kv_head * p.group, rows = kChunkTiles * kQueries;
    const int64_t at_query = (p.q_offsets[piece.sequence] + piece.first) * p.q_stride + head0 * p.head_dim;
    const int64_t at_key = p.kv_offsets[piece.sequence] * p.kv_stride + piece.kv_head * p.head_dim;
    const float *q = p.q + at_query, *k = p.k + at_key, *v = p.v + at_key;
    float *o = p.o + at_query;
    const bool direct = queries * p.group < kDirectRows;
    for (int64_t i = 0; i < p.group * rows; i++) s.highest[i] = kMinusInfinity, s.sum[i] = 0;

    const int64_t begin = visible(p, piece.first + shift, keys).first, end = visible(p, piece.last - 1 + shift, keys).last;
    for (int64_t j0 = begin; j0 < end; j0 += kKeys) {
        const int64_t j1 = smaller(j0 + kKeys, end);
        if (!direct) transpose_to_panels(k + j0 * p.kv_stride, p.kv_stride, j1 - j0, p.head_dim, s.panels);
        for (int64_t i0 = 0; i0 < queries; i0 += kQueries) {
            const int64_t i1 = smaller(i0 + kQueries, queries), position = piece.first + shift;
            const Range seen = visible_of_block(p, position + i0, position + i1, j0, j1);
            if (seen.first >= seen.last) continue;
            const int64_t first = seen.first / kKeyPanel, last = ceil_div(seen.last, kKeyPanel);
            const bool started = visible(p, position + i0, keys).first < j0;  // the tile has output of earlier keys
            for (int64_t g = 0; g < p.group; g++) {
                const float *tile_q = q + i0 * p.q_stride + g * p.head_dim;
                float *tile_o = o + i0 * p.q_stride + g * p.head_dim;
                if (direct) {
                    for (int64_t i = 0; i < i1 - i0; i++) {
                        for (int64_t j = seen.first; j < seen.last; j++) {
                            s.scores[i * kKeys + j] = dot(tile_q + i * p.q_stride, k + (j0 + j) * p.kv_stride, p.head_dim);
                        }
                    }
                } else {
                    multiply_panels({tile_q, p.q_stride, 1}, i1 - i0, s.panels, first, last, s.scores, p.head_dim);
                }
                for (int64_t i = 0; i < i1 - i0; i++) {
                    float *row = s.scores + i * kKeys;
                    const Range own = mask_row(p, position + i0 + i, j0, j1, first, last, row);
                    if (own.first < own.last) {
                        const int64_t at = g * rows + i0 + i;
                        softmax_row(row, first * kKeyPanel, ceil_div(own.last, kWidth) * kWidth, last * kKeyPanel, p.scale,
                                    s.highest[at], s.sum[at], tile_o + i * p.q_stride, p.head_dim);
                    } else {
                        memset(row + first * kKeyPanel, 0, static_cast<size_t>((last - first) * kKeyPanel) * sizeof(float));
                    }
                }
                multiply({s.scores + seen.first, kKeys, 1}, i1 - i0, v + (j0 + seen.first) * p.kv_stride, p.kv_stride,
                         p.head_dim, tile_o, p.q_stride, seen.last - seen.first, started);
            }
        }
    }

    for (int64_t i = 0; i < queries; i++) {
        for (int64_t g = 0; g < p.group; g++) {
            const float total = s.sum[g * rows + i];
            float *row = o + i * p.q_stride + g * p.head_dim;
            const Vec factor = broadcast(1.0f / total);
            for (int64_t c = 0; c < p.head_dim; c += kWidth) store(row + c, load(row + c) * factor);
            if (p.lse_out != nullptr) {
                p.lse_out[(p.q_offsets[piece.sequence] + piece.first + i) * p.heads + head0 + g] =
                    s.highest[g * rows + i] + __builtin_logf(total);
            }
        }
    }
}

// ---- backward ---------------------------------------------------------------------------------------------------

struct BackwardScratch {
    float *keys, *values;      // [head_dim][kKeys] in panels
    float *weights, *scores;   // [kQueries][kKeys]: P, and dP that becomes dS

    static int64_t floats(const Problem &p) { return 2 * p.head_dim * kKeys + 2 * kQueries * kKeys; }
    BackwardScratch(const Problem &p, float *memory)
        : keys(memory), values(keys + p.head_dim * kKeys), weights(values + p.head_dim * kKeys),
          scores(weights + kQueries * kKeys) {}
};

// P = e^(scale * score - lse) in place of the scores and dS = P (dP - delta) scale in place of dP, for columns
// [first, seen); zeros up to `last`. Columns are whole vectors.
void backward_row(float *weights, float *gradients, int64_t first, int64_t seen, int64_t last, float scale, float lse,
                  float delta) {
    const Vec factor = broadcast(scale), shift = broadcast(-lse), mean = broadcast(delta);
    for (int64_t j = first; j < seen; j += kWidth) {
        const Vec weight = exp(fma(load(weights + j), factor, shift));
        store(weights + j, weight);
        store(gradients + j, weight * (load(gradients + j) - mean) * factor);
    }
    for (int64_t j = seen; j < last; j += kWidth) {
        store(weights + j, zero());
        store(gradients + j, zero());
    }
}

// dq points at the partial sums this piece adds to, laid out as q.
void backward_piece(const Problem &p, const Piece &piece, const BackwardScratch &s, float *dq) {
    const int64_t length = p.queries(piece.sequence), token = p.q_offsets[piece.sequence];
    const int64_t head0 = piece.kv_head * p.group;
    const int64_t at_query = token * p.q_stride + head0 * p.head_dim;
    const int64_t at_key = token * p.kv_stride + piece.kv_head * p.head_dim;
    for (int64_t j0 = piece.first; j0 < piece.last; j0 += kKeys) {
        const int64_t j1 = smaller(j0 + kKeys, piece.last), here = at_key + j0 * p.kv_stride;
        const float *k = p.k + here;
        transpose_to_panels(k, p.kv_stride, j1 - j0, p.head_dim, s.keys);
        transpose_to_panels(p.v + here, p.kv_stride, j1 - j0, p.head_dim, s.values);
        for (int64_t j = 0; j < j1 - j0; j++) {
            memset(p.dk + here + j * p.kv_stride, 0, static_cast<size_t>(p.head_dim) * sizeof(float));
            memset(p.dv + here + j * p.kv_stride, 0, static_cast<size_t>(p.head_dim) * sizeof(float));
        }
        const int64_t end = p.window > 0 ? smaller(length, j1 - 1 + p.window) : length;  // queries that see any of it
        for (int64_t i0 = j0; i0 < end; i0 += kQueries) {
            const int64_t i1 = smaller(i0 + kQueries, end);
            const Range seen = visible_of_block(p, i0, i1, j0, j1);
            if (seen.first >= seen.last) continue;
            const int64_t first = seen.first / kKeyPanel, last = ceil_div(seen.last, kKeyPanel), n = seen.last - seen.first;
            for (int64_t g = 0; g < p.group; g++) {
                const int64_t tile = at_query + i0 * p.q_stride + g * p.head_dim;
                multiply_panels({p.q + tile, p.q_stride, 1}, i1 - i0, s.keys, first, last, s.weights, p.head_dim);
                multiply_panels({p.d_o + tile, p.q_stride, 1}, i1 - i0, s.values, first, last, s.scores, p.head_dim);
                for (int64_t i = 0; i < i1 - i0; i++) {
                    float *weights = s.weights + i * kKeys, *gradients = s.scores + i * kKeys;
                    const Range own = mask_row(p, i0 + i, j0, j1, first, last, weights);
                    const int64_t at = (token + i0 + i) * p.heads + head0 + g;
                    const int64_t end_of_own = own.first < own.last ? ceil_div(own.last, kWidth) * kWidth : first * kKeyPanel;
                    backward_row(weights, gradients, first * kKeyPanel, end_of_own, last * kKeyPanel, p.scale, p.lse[at],
                                 p.delta[at]);
                }
                const int64_t seen_at = here + seen.first * p.kv_stride;
                multiply({s.weights + seen.first, 1, kKeys}, n, p.d_o + tile, p.q_stride, p.head_dim, p.dv + seen_at,
                         p.kv_stride, i1 - i0, true);
                multiply({s.scores + seen.first, 1, kKeys}, n, p.q + tile, p.q_stride, p.head_dim, p.dk + seen_at,
                         p.kv_stride, i1 - i0, true);
                multiply({s.scores + seen.first, kKeys, 1}, i1 - i0, p.k + seen_at, p.kv_stride, p.head_dim, dq + tile,
                         p.q_stride, n, true);
            }
        }
    }
}

// Query-key pairs that key block [j0, j1) of a sequence takes part in, about.
double key_block_cost(const Problem &p, int64_t length, int64_t j0, int64_t j1) {
    const int64_t last = p.window > 0 ? smaller(length, j1 - 1 + p.window) : length;
    return static_cast<double>(j1 - j0) * static_cast<double>(last - j0);
}

double sequence_cost(const Problem &p, int64_t length) {
    double cost = 0;
    for (int64_t j = 0; j < length; j += kKeys) cost += key_block_cost(p, length, j, smaller(j + kKeys, length));
    return cost;
}

}  // namespace

// ---- the ops ----------------------------------------------------------------------------------------------------

static Problem problem_of(const ml_attention_desc &d) {
    Problem p{};
    p.q = static_cast<const float *>(d.q);
    p.k = static_cast<const float *>(d.k);
    p.v = static_cast<const float *>(d.v);
    p.o = static_cast<float *>(d.o);
    p.d_o = static_cast<const float *>(d.d_o);
    p.dq = static_cast<float *>(d.dq);
    p.dk = static_cast<float *>(d.dk);
    p.dv = static_cast<float *>(d.dv);
    p.lse = d.lse;
    p.lse_out = d.lse;
    p.q_offsets = d.q_offsets;
    p.kv_offsets = d.kv_offsets == nullptr ? d.q_offsets : d.kv_offsets;
    p.sequences = d.sequences;
    p.heads = d.heads;
    p.kv_heads = d.kv_heads;
    p.group = d.heads / d.kv_heads;
    p.head_dim = ceil_div(d.head_dim, kWidth) * kWidth;
    p.window = d.window;
    p.q_stride = d.heads * p.head_dim;
    p.kv_stride = d.kv_heads * p.head_dim;
    p.scale = d.scale;
    return p;
}

// Whether the tensors are used where they lie.
bool in_place(const ml_attention_desc &d, const Problem &p) {
    const int64_t q = d.heads * d.head_dim, kv = d.kv_heads * d.head_dim;
    return p.head_dim == d.head_dim && stride_of(d.q_stride, q) == q && stride_of(d.kv_stride, kv) == kv && stride_of(d.o_stride, q) == q;
}

ml_status attention_forward(Context &context, const ml_attention_desc &d) {
    if (d.tokens == 0) return ML_OK;
    Problem p = problem_of(d);
    const bool copied = !in_place(d, p);
    if (copied) {
        const Heads keys = heads_of(p.kv_offsets[d.sequences], d.kv_heads, d.head_dim, d.kv_stride);
        p.q = pad(context, d.q, heads_of(d.tokens, d.heads, d.head_dim, d.q_stride), p.head_dim);
        p.k = pad(context, d.k, keys, p.head_dim);
        p.v = pad(context, d.v, keys, p.head_dim);
        p.o = scratch_floats(context, d.tokens * p.q_stride);
        if (p.q == nullptr || p.k == nullptr || p.v == nullptr || p.o == nullptr) return ML_OUT_OF_MEMORY;
    }

    const int64_t chunk = kChunkTiles * kQueries;
    int64_t count = 0;
    for (int64_t s = 0; s < p.sequences; s++) count += ceil_div(p.queries(s), chunk) * p.kv_heads;
    const int parts = parts_for(context, count);
    auto *pieces = static_cast<Piece *>(cpu_scratch(context, static_cast<size_t>(count) * sizeof(Piece)));
    auto *bounds = static_cast<int64_t *>(cpu_scratch(context, static_cast<size_t>(parts + 1) * sizeof(int64_t)));
    const int64_t part_floats = ceil_div(ForwardScratch::floats(p), 16) * 16;
    float *memory = scratch_floats(context, parts * part_floats);
    if (pieces == nullptr || bounds == nullptr || memory == nullptr) return ML_OUT_OF_MEMORY;
    int64_t at = 0;
    for (int64_t s = 0; s < p.sequences; s++) {
        const int64_t shift = p.keys(s) - p.queries(s);
        for (int64_t kv_head = 0; kv_head < p.kv_heads; kv_head++) {
            for (int64_t first = 0; first < p.queries(s); first += chunk) {
                const int64_t last = smaller(first + chunk, p.queries(s));
                const int64_t seen = visible(p, last - 1 + shift, p.keys(s)).last - visible(p, first + shift, p.keys(s)).first;
                pieces[at++] = {static_cast<int32_t>(s), static_cast<int32_t>(kv_head), static_cast<int32_t>(first),
                                static_cast<int32_t>(last), 0, 0,
                                static_cast<double>(last - first) * (static_cast<double>(seen) - (last - first) / 2.0)};
            }
        }
    }
    balance(pieces, count, parts, bounds);
    parallel(context, parts, [&](int part) {
        const ForwardScratch scratch(p, memory + part * part_floats);
        for (int64_t i = bounds[part]; i < bounds[part + 1]; i++) forward_piece(p, pieces[i], scratch);
    });
    if (copied) unpad(context, p.o, d.o, heads_of(d.tokens, d.heads, d.head_dim, d.o_stride), p.head_dim);
    return ML_OK;
}

ml_status attention_backward(Context &context, const ml_attention_desc &d) {
    if (d.tokens == 0) return ML_OK;
    Problem p = problem_of(d);
    p.kv_offsets = d.q_offsets;
    const bool copied = !in_place(d, p);
    const Heads queries = heads_of(d.tokens, d.heads, d.head_dim, d.q_stride), keys = heads_of(d.tokens, d.kv_heads, d.head_dim, d.kv_stride);
    if (copied) {
        p.q = pad(context, d.q, queries, p.head_dim);
        p.k = pad(context, d.k, keys, p.head_dim);
        p.v = pad(context, d.v, keys, p.head_dim);
        p.o = pad(context, d.o, heads_of(d.tokens, d.heads, d.head_dim, d.o_stride), p.head_dim);
        p.d_o = pad(context, d.d_o, heads_of(d.tokens, d.heads, d.head_dim, 0), p.head_dim);
        p.dq = scratch_floats(context, d.tokens * p.q_stride);
        p.dk = scratch_floats(context, d.tokens * p.kv_stride);
        p.dv = scratch_floats(context, d.tokens * p.kv_stride);
        if (p.q == nullptr || p.k == nullptr || p.v == nullptr || p.o == nullptr || p.d_o == nullptr || p.dq == nullptr ||
            p.dk == nullptr || p.dv == nullptr) {
            return ML_OUT_OF_MEMORY;
        }
    }

    // Keys of a sequence are split when there are too few (sequence, head) pairs to keep the threads busy. Pieces of
    // one pair but the first add up dq in copies of their own, which are summed in order.
    double total = 0;
    for (int64_t s = 0; s < p.sequences; s++) total += sequence_cost(p, p.queries(s)) * static_cast<double>(p.kv_heads);
    const int threads = cpu_threads(context);
    const double most = threads == 1 ? total : total / (2.0 * threads);
    int64_t count = 0, copies = 1;
    for (int64_t s = 0; s < p.sequences; s++) count += p.kv_heads * ceil_div(p.queries(s), kKeys);  // at most
    auto *pieces = static_cast<Piece *>(cpu_scratch(context, static_cast<size_t>(count) * sizeof(Piece)));
    if (pieces == nullptr) return ML_OUT_OF_MEMORY;
    count = 0;
    for (int64_t s = 0; s < p.sequences; s++) {
        const int64_t length = p.queries(s);
        const double cost = sequence_cost(p, length);
        const double splits = __builtin_ceil(cost / most), share = cost / splits;
        for (int64_t kv_head = 0; kv_head < p.kv_heads; kv_head++) {
            double done = 0;
            int32_t copy = 0;
            for (int64_t j0 = 0; j0 < length; j0 += kKeys) {
                const int64_t j1 = smaller(j0 + kKeys, length);
                const double here = key_block_cost(p, length, j0, j1);
                if (j0 == 0 || (splits > 1 && done + here / 2 > share * (copy + 1))) {
                    if (j0 != 0) copy++;
                    pieces[count++] = {static_cast<int32_t>(s), static_cast<int32_t>(kv_head), static_cast<int32_t>(j0),
                                       static_cast<int32_t>(j1), copy, 0, 0};
                }
                pieces[count - 1].last = static_cast<int32_t>(j1);
                pieces[count - 1].cost += here;
                done += here;
            }
            copies = larger(copies, copy + 1);
        }
    }

    const int parts = parts_for(context, count);
    auto *bounds = static_cast<int64_t *>(cpu_scratch(context, static_cast<size_t>(parts + 1) * sizeof(int64_t)));
    const int64_t part_floats = ceil_div(BackwardScratch::floats(p), 16) * 16, dq_floats = d.tokens * p.q_stride;
    float *memory = scratch_floats(context, parts * part_floats);
    float *delta = scratch_floats(context, d.tokens * d.heads);
    float *partial = scratch_floats(context, (copies - 1) * dq_floats);  // dq of copies 1, 2, ...
    if (bounds == nullptr || memory == nullptr || delta == nullptr || partial == nullptr) return ML_OUT_OF_MEMORY;
    balance(pieces, count, parts, bounds);

    p.delta = delta;
    parallel_ranges(context, d.tokens, p.q_stride, [&](int64_t first, int64_t last) {
        for (int64_t row = first * d.heads; row < last * d.heads; row++) {
            delta[row] = dot(p.o + row * p.head_dim, p.d_o + row * p.head_dim, p.head_dim);
        }
        const size_t bytes = static_cast<size_t>((last - first) * p.q_stride) * sizeof(float);
        memset(p.dq + first * p.q_stride, 0, bytes);
        for (int64_t copy = 1; copy < copies; copy++) memset(partial + (copy - 1) * dq_floats + first * p.q_stride, 0, bytes);
    });
    parallel(context, parts, [&](int part) {
        const BackwardScratch scratch(p, memory + part * part_floats);
        for (int64_t i = bounds[part]; i < bounds[part + 1]; i++) {
            backward_piece(p, pieces[i], scratch, pieces[i].copy == 0 ? p.dq : partial + (pieces[i].copy - 1) * dq_floats);
        }
    });
    for (int64_t copy = 1; copy < copies; copy++) {
        const float *from = partial + (copy - 1) * dq_floats;
        parallel_ranges(context, dq_floats, 1, [&](int64_t first, int64_t last) {
            for_each_vector(first, last, [&](int64_t at, int n) {
                store_first(p.dq + at, load_first(p.dq + at, n) + load_first(from + at, n), n);
            });
        }, kWidth);
    }
    if (copied) {
        unpad(context, p.dq, d.dq, queries, p.head_dim);
        unpad(context, p.dk, d.dk, keys, p.head_dim);
        unpad(context, p.dv, d.dv, keys, p.head_dim);
    }
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
