// y = W x + scale * B A drop(x), or with a mixture's heads scale * sum_j w_j B_j A drop(x): the frozen product carries the
// adapters of all slots as further terms of its sums.
#include "core/mixture.h"
#include "core/stride.h"
#include "cpu/dropout.h"
#include "cpu/gemm.h"
#include "cpu/mixture.h"
#include "cpu/ops.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- products of rows -------------------------------------------------------------------------------------------

// out[i * ld_out + j] = scale * x_i . a_j for a block of Rows x Columns rows.
template <int Rows, int Columns>
static void dot_block(const float *x, int64_t ldx, const float *a, int64_t lda, int64_t length, float scale, float *out,
                      int64_t ld_out) {
    Vec acc[Rows][Columns];
    for (int i = 0; i < Rows; i++)
        for (int j = 0; j < Columns; j++) acc[i][j] = zero();
    int64_t k = 0;
    for (; k + kWidth <= length; k += kWidth) {
        Vec right[Columns];
#pragma GCC unroll 4
        for (int j = 0; j < Columns; j++) right[j] = load(a + j * lda + k);
#pragma GCC unroll 4
        for (int i = 0; i < Rows; i++) {
            const Vec left = load(x + i * ldx + k);
#pragma GCC unroll 4
            for (int j = 0; j < Columns; j++) acc[i][j] = fma(left, right[j], acc[i][j]);
        }
    }
    if (const int rest = static_cast<int>(length - k); rest > 0) {
        for (int i = 0; i < Rows; i++) {
            const Vec left = load_first(x + i * ldx + k, rest);
            for (int j = 0; j < Columns; j++) acc[i][j] = fma(left, load_first(a + j * lda + k, rest), acc[i][j]);
        }
    }
    for (int i = 0; i < Rows; i++)
        for (int j = 0; j < Columns; j++) out[i * ld_out + j] = scale * sum(acc[i][j]);
}

template <int Rows>
static void dot_rows(const float *x, int64_t ldx, const float *a, int64_t lda, int64_t columns, int64_t length, float scale,
                     float *out, int64_t ld_out) {
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4) dot_block<Rows, 4>(x, ldx, a + j * lda, lda, length, scale, out + j, ld_out);
    for (; j < columns; j++) dot_block<Rows, 1>(x, ldx, a + j * lda, lda, length, scale, out + j, ld_out);
}

// out[rows, columns] = scale * x[rows, length] a[columns, length]^T
static void dots(const float *x, int64_t ldx, int64_t rows, const float *a, int64_t lda, int64_t columns, int64_t length, float scale, float *out,
                 int64_t ld_out) {
    int64_t i = 0;
    for (; i + 3 <= rows; i += 3) dot_rows<3>(x + i * ldx, ldx, a, lda, columns, length, scale, out + i * ld_out, ld_out);
    for (; i < rows; i++) dot_rows<1>(x + i * ldx, ldx, a, lda, columns, length, scale, out + i * ld_out, ld_out);
}

// Calls body(slot, from, to) for the stretch of each slot within rows [row0, row1).
template <class Body>
static void for_slots(const ml_mixture_linear_desc &d, int64_t row0, int64_t row1, const Body &body) {
    for (int64_t slot = 0; slot < d.slots; slot++) {
        const int64_t from = d.slot_offsets[slot] > row0 ? d.slot_offsets[slot] : row0;
        const int64_t to = min64(d.slot_offsets[slot + 1], row1);
        if (from < to) body(slot, from, to);
    }
}

static bool empty(const ml_mixture_linear_desc &d, int64_t slot) { return d.slot_offsets[slot] == d.slot_offsets[slot + 1]; }

constexpr int64_t kRowsAPart = 48;

// A term's h of rows [row0, row1) of x.
static void shrink_term(const ml_mixture_linear_desc &d, int64_t term, const float *x, int64_t ldx, int64_t row0, int64_t row1) {
    const int64_t in = weight_in(*d.w), r = d.rank, ranks = d.terms * r;
    for_slots(d, row0, row1, [&](int64_t slot, int64_t from, int64_t to) {
        dots(x + from * ldx, ldx, to - from, d.term[term].a + slot * d.slot_stride, in, r, in, 1.0f, d.h + from * ranks + term * r, ranks);
    });
}

static void shrink(const ml_mixture_linear_desc &d, int64_t row0, int64_t row1) {
    for (int64_t term = 0; term < d.terms; term++) {
        shrink_term(d, term, static_cast<const float *>(d.x), stride_of(d.x_stride, weight_in(*d.w)), row0, row1);
    }
}

void lora_shrink(const ml_lora_linear_desc &d, int64_t row0, int64_t row1) { shrink(without_router(d), row0, row1); }

// The heads' weights of rows [row0, row1), and mixed[T, terms * heads * r] = w (x) h.
static void route(const ml_mixture_linear_desc &d, int64_t row0, int64_t row1, float *mixed) {
    const int64_t in = weight_in(*d.w), ldx = stride_of(d.x_stride, in), r = d.rank, heads = d.heads, all = d.terms * heads;
    const float *x = static_cast<const float *>(d.x);
    for_slots(d, row0, row1, [&](int64_t slot, int64_t from, int64_t to) {
        for (int64_t i = 0; i < d.terms; i++) {
            const float *router = d.term[i].router + slot * d.slot_stride;
            dots(x + from * ldx, ldx, to - from, router, in, heads, in, 1.0f, d.weights + from * all + i * heads, all);
        }
    });
    for (int64_t at = row0 * d.terms; at < row1 * d.terms; at++) {  // each token's terms
        softmax(d.weights + at * heads, heads);
        mix(d.weights + at * heads, d.h + at * r, heads, r, mixed + at * heads * r);
    }
}

// ---- forward ----------------------------------------------------------------------------------------------------

// has_h: h is read, not computed.
static ml_status forward(Context &context, const ml_mixture_linear_desc &d, bool has_h) {
    const int64_t in = weight_in(*d.w), out = weight_out(*d.w), columns = b_columns(d), ranks = d.terms * columns;
    const int64_t ldx = stride_of(d.x_stride, in);
    const float *x = static_cast<const float *>(d.x);
    Gemm product = {x, d.tokens, d.w, false, static_cast<const float *>(d.residual), d.bias, static_cast<float *>(d.y), nullptr,
                    ldx, d.y_stride};
    if (d.rank == 0 || d.tokens == 0) return gemm(context, product);

    const int64_t panels = ceil_div(out, kPanel);
    float *b_panels = scratch_floats(context, panels * d.slots * ranks * kPanel);
    float *dropped = d.dropout > 0 ? scratch_floats(context, d.tokens * in) : nullptr;
    float *mixed = d.heads > 0 ? scratch_floats(context, d.tokens * ranks) : d.h;
    if (b_panels == nullptr || mixed == nullptr || (d.dropout > 0 && dropped == nullptr)) return ML_OUT_OF_MEMORY;
    const int64_t row_parts = has_h ? 0 : ceil_div(d.tokens, kRowsAPart), panels_a_part = 8;
    parallel(context, static_cast<int>(row_parts + ceil_div(panels, panels_a_part)), [&](int part) {
        if (part < row_parts) {  // h = A drop(x)
            const int64_t row0 = part * kRowsAPart, row1 = min64(row0 + kRowsAPart, d.tokens);
            if (dropped == nullptr) shrink(d, row0, row1);
            for (int64_t i = 0; dropped != nullptr && i < d.terms; i++) {
                const Dropout dropout(d.dropout, d.seed, d.term[i].stream);
                for (int64_t t = row0; t < row1; t++) dropout.apply(t, 0, x + t * ldx, dropped + t * in, in);
                shrink_term(d, i, dropped, in, row0, row1);
            }
            if (d.heads > 0) route(d, row0, row1, mixed);
            return;
        }
        const int64_t panel0 = (part - row_parts) * panels_a_part;  // scale * B, transposed a panel at a time
        for (int64_t panel = panel0; panel < min64(panel0 + panels_a_part, panels); panel++) {
            for (int64_t slot = 0; slot < d.slots; slot++) {
                if (empty(d, slot)) continue;
                for (int64_t term = 0; term < d.terms; term++) {
                    const ml_mixture_term &t = d.term[term];
                    float *to = b_panels + ((panel * d.slots + slot) * ranks + term * columns) * kPanel;
                    const float *b = t.b + slot * d.slot_stride;
                    for (int64_t i = 0; i < kPanel; i++) {
                        const int64_t n = panel * kPanel + i - t.first;
                        const bool there = n >= 0 && n < t.rows;
                        for (int64_t j = 0; j < columns; j++) to[j * kPanel + i] = there ? d.scale * b[n * columns + j] : 0.0f;
                    }
                }
            }
        }
    });
    const LowRank low_rank = {mixed, b_panels, d.slot_offsets, d.slots, ranks};
    product.low_rank = &low_rank;
    return gemm(context, product);
}

ml_status lora_linear_forward(Context &context, const ml_lora_linear_desc &d) {
    return forward(context, without_router(d), false);
}

bool lora_shrinks_first(const ml_lora_linear_desc &d) { return d.rank > 0 && d.dropout == 0; }

ml_status lora_linear_after_shrink(Context &context, const ml_lora_linear_desc &d) {
    return forward(context, without_router(d), true);
}

ml_status mixture_linear_forward(Context &context, const ml_mixture_linear_desc &d) { return forward(context, d, false); }

// ---- backward ---------------------------------------------------------------------------------------------------

// Sums over a slot's tokens, for kColumns columns from `column`: sum_t left[j, t] right[t, column ..] for all j < rank,
// handed to emit(j, rows, first column, columns, sums) in tiles. left is [rank, tokens], right [tokens, width], its rows ld apart.
// The columns are copied together a block of tokens at a time: they lie a row apart, too far for the processor to fetch
// ahead by itself, and every tile of j reads them.
constexpr int64_t kColumns = 4 * kPanel;

template <class Emit>
static void token_sums(const float *left, int64_t rank, int64_t tokens, int64_t from, int64_t to, const float *right,
                       int64_t width, int64_t ld, int64_t column, const Emit &emit) {
    constexpr int64_t block = 64, ahead = 8;
    alignas(64) float panels[kColumns / kPanel][block * kPanel];
    const int64_t columns = min64(kColumns, width - column), tiles = ceil_div(rank, kTileRows);
    for (int64_t t = from; t < to; t += block) {
        const int64_t steps = min64(block, to - t);
        for (int64_t s = 0; s < steps; s++) {
            const float *row = right + (t + s) * ld + column;
            for (int64_t c = 0; c < columns; c += kPanel) {
                __builtin_prefetch(row + ahead * ld + c);
                float *copy = panels[c / kPanel] + s * kPanel;
                if (columns - c >= kPanel) {
                    for (int64_t i = 0; i < kPanel; i += kWidth) store(copy + i, load(row + c + i));
                } else {
                    for (int64_t i = 0; i < kPanel; i++) copy[i] = c + i < columns ? row[c + i] : 0.0f;
                }
            }
        }
        for (int64_t c = 0; c < columns; c += kTileColumns) {
            const int width = tile_panels(c / kPanel, ceil_div(columns, kPanel)) * kPanel;
            for (int64_t i = 0; i < tiles; i++) {
                const int64_t j = i * rank / tiles;
                const int rows = static_cast<int>((i + 1) * rank / tiles - j);
                alignas(64) float sums[kTileRows * kTileColumns];
                const Term term = {left + j * tokens + t, tokens, panels[c / kPanel], block * kPanel, steps};
                tile(rows, width / kPanel, &term, 1, nullptr, 0, nullptr, sums, kTileColumns, width);
                emit(j, rows, column + c, min64(width, columns - c), static_cast<const float *>(sums));
            }
        }
    }
}

// Rows [begin, begin + count) of each term's A with the router's rows below, which dx and gradients meet in the same way: those
// that saw x itself, or those that saw drop(x). Gradients are asked for of rows [asked, asked_end) of these.
struct ARows {
    int64_t begin, count, all;  // all: of the terms together
    int64_t asked, asked_end;
    float *panels;              // [panel][slot][all][kPanel]
    float *low, *columns;       // what they are multiplied by, [tokens, all], and of the rows asked for that transposed
    int64_t gradients() const { return asked_end - asked; }  // of a term
};

static bool take(Context &context, const ml_mixture_linear_desc &d, int64_t begin, int64_t count, ARows &rows) {
    const int64_t first = d.term[0].da == nullptr ? d.rank : 0, end = d.term[0].drouter == nullptr ? d.rank : a_rows(d);
    rows = {begin, count, d.terms * count, 0, 0, nullptr, nullptr, nullptr};
    if (count == 0) return true;
    rows.asked = first > begin ? first : begin, rows.asked_end = min64(begin + count, end);
    if (rows.asked_end < rows.asked) rows.asked_end = rows.asked;
    rows.panels = scratch_floats(context, ceil_div(weight_in(*d.w), kPanel) * d.slots * rows.all * kPanel);
    rows.low = scratch_floats(context, d.tokens * rows.all);
    if (rows.gradients() > 0) rows.columns = scratch_floats(context, d.terms * rows.gradients() * d.tokens);
    return rows.panels != nullptr && rows.low != nullptr && (rows.columns != nullptr || rows.gradients() == 0);
}

// A token's share of `columns`.
static void transpose(const ml_mixture_linear_desc &d, const ARows &rows, int64_t token) {
    const int64_t count = rows.gradients();
    for (int64_t i = 0; i < d.terms && count > 0; i++) {
        const float *from = rows.low + token * rows.all + i * rows.count + (rows.asked - rows.begin);
        for (int64_t j = 0; j < count; j++) rows.columns[(i * count + j) * d.tokens + token] = from[j];
    }
}

static void pack_panel(const ml_mixture_linear_desc &d, const ARows &rows, int64_t panel, int64_t slot) {
    const int64_t in = weight_in(*d.w), r = d.rank;
    for (int64_t row = 0; row < rows.all; row++) {
        const ml_mixture_term &t = d.term[row / rows.count];
        const int64_t of_term = rows.begin + row % rows.count;
        const float *from = (of_term < r ? t.a + of_term * in : t.router + (of_term - r) * in) + slot * d.slot_stride;
        float *to = rows.panels + ((panel * d.slots + slot) * rows.all + row) * kPanel;
        for (int64_t i = 0; i < kPanel; i++) {
            const int64_t k = panel * kPanel + i;
            to[i] = k < in ? from[k] : 0.0f;
        }
    }
}

static float *gradient_row(const ml_mixture_linear_desc &d, const ARows &rows, int64_t row, int64_t slot) {
    const ml_mixture_term &t = d.term[row / rows.gradients()];
    const int64_t in = weight_in(*d.w), of_term = rows.asked + row % rows.gradients();
    return (of_term < d.rank ? t.da + of_term * in : t.drouter + (of_term - d.rank) * in) + slot * d.slot_stride;
}

static ml_status backward(Context &context, const ml_mixture_linear_desc &d) {
    const int64_t in = weight_in(*d.w), out = weight_out(*d.w), r = d.rank, heads = d.heads, tokens = d.tokens;
    const int64_t columns = b_columns(d), ranks = d.terms * columns, a_ranks = a_rows(d);
    const int64_t ldx = stride_of(d.x_stride, in), ldy = stride_of(d.y_stride, out);
    const float *x = static_cast<const float *>(d.x), *dy = static_cast<const float *>(d.dy);
    float *dx = static_cast<float *>(d.dx);
    Gemm product = {dy, tokens, d.w, true, d.accumulate ? dx : nullptr, nullptr, dx, nullptr, ldy, 0};
    if (tokens == 0) return ML_OK;
    if (r == 0) return dx == nullptr ? ML_OK : gemm(context, product);

    const int64_t in_panels = ceil_div(in, kPanel);
    const bool has_dropout = d.dropout > 0, keeps_dropped = has_dropout && d.term[0].da != nullptr;
    ARows direct, masked;
    float *b_rows = scratch_floats(context, d.slots * columns * out);  // B transposed, [slot][columns][out], of all terms
    float *h_columns = scratch_floats(context, ranks * tokens);        // scale * (w (x) h) transposed
    float *dropped = keeps_dropped ? scratch_floats(context, d.terms * tokens * in) : nullptr;  // [terms][tokens][in]
    if (b_rows == nullptr || h_columns == nullptr || (keeps_dropped && dropped == nullptr)) return ML_OUT_OF_MEMORY;
    const int64_t masked_rows = has_dropout ? r : 0;
    if (!take(context, d, 0, masked_rows, masked)) return ML_OUT_OF_MEMORY;
    if (!take(context, d, masked_rows, a_ranks - masked_rows, direct)) return ML_OUT_OF_MEMORY;
    float *u = heads > 0 ? scratch_floats(context, tokens * ranks) : has_dropout ? masked.low : direct.low;
    if (u == nullptr) return ML_OUT_OF_MEMORY;
    const int64_t out_a_part = 128, panels_a_part = 8;
    const int64_t b_parts = ceil_div(out, out_a_part), a_parts = dx == nullptr ? 0 : ceil_div(in_panels, panels_a_part);
    parallel(context, static_cast<int>(b_parts + a_parts), [&](int part) {
        for (int64_t slot = 0; slot < d.slots; slot++) {
            if (empty(d, slot)) continue;
            if (part < b_parts) {
                float *to = b_rows + slot * columns * out;
                for (int64_t i = 0; i < d.terms; i++) {
                    const ml_mixture_term &t = d.term[i];
                    const float *b = t.b + slot * d.slot_stride;
                    const int64_t first = part * out_a_part < t.first ? t.first : part * out_a_part;
                    for (int64_t n = first; n < min64((part + 1) * out_a_part, t.first + t.rows); n++)
                        for (int64_t j = 0; j < columns; j++) to[j * out + n] = b[(n - t.first) * columns + j];
                }
                continue;
            }
            const int64_t panel0 = (part - b_parts) * panels_a_part;
            for (int64_t panel = panel0; panel < min64(panel0 + panels_a_part, in_panels); panel++) {
                pack_panel(d, direct, panel, slot);
                pack_panel(d, masked, panel, slot);
            }
        }
    });

    parallel(context, static_cast<int>(ceil_div(tokens, kRowsAPart)), [&](int part) {  // u = scale * B^T dy
        const int64_t row0 = part * kRowsAPart, row1 = min64(row0 + kRowsAPart, tokens);
        for_slots(d, row0, row1, [&](int64_t slot, int64_t from, int64_t to) {
            for (int64_t i = 0; i < d.terms; i++) {
                const ml_mixture_term &t = d.term[i];
                const float *b = b_rows + slot * columns * out + t.first;
                float *u_of = u + from * ranks + i * columns;
                dots(dy + from * ldy + t.first, ldy, to - from, b, out, columns, t.rows, d.scale, u_of, ranks);
            }
        });
        for (int64_t t = row0; t < row1; t++) {
            for (int64_t i = 0; i < d.terms; i++) {
                const float *h = d.h + (t * d.terms + i) * r, *w = d.weights + (t * d.terms + i) * heads;
                for (int64_t first = 0; first < columns; first += r) {
                    const float share = heads > 0 ? w[first / r] : 1.0f;
                    for (int64_t j = 0; j < r; j++) h_columns[(i * columns + first + j) * tokens + t] = d.scale * (share * h[j]);
                }
                if (heads == 0) continue;
                float *d_h = has_dropout ? masked.low + t * masked.all + i * r : direct.low + t * direct.all + i * a_ranks;
                float *d_z = has_dropout ? direct.low + t * direct.all + i * heads : d_h + r;
                unmix(w, h, u + t * ranks + i * columns, heads, r, d_h, d_z);
            }
            transpose(d, direct, t);
            transpose(d, masked, t);
            for (int64_t i = 0; keeps_dropped && i < d.terms; i++) {
                Dropout(d.dropout, d.seed, d.term[i].stream).apply(t, 0, x + t * ldx, dropped + (i * tokens + t) * in, in);
            }
        }
    });

    if (dx != nullptr) {
        const LowRank low_rank = {direct.low, direct.panels, d.slot_offsets, d.slots, direct.all};
        if (direct.all > 0) product.low_rank = &low_rank;
        if (ml_status status = gemm(context, product); status != ML_OK) return status;
        if (has_dropout) {  // A saw drop(x): its share of dx goes through the same mask
            parallel(context, static_cast<int>(ceil_div(tokens, kRowsAPart)), [&](int part) {
                const int64_t row0 = part * kRowsAPart, row1 = min64(row0 + kRowsAPart, tokens);
                for_slots(d, row0, row1, [&](int64_t slot, int64_t from, int64_t to) {
                    for (int64_t t = from; t < to; t += kTileRows) {
                        const int rows = static_cast<int>(min64(kTileRows, to - t));
                        for (int64_t panel = 0; panel < in_panels; panel++) {
                            alignas(64) float share[kTileRows * kPanel];
                            const int64_t column = panel * kPanel, width = min64(kPanel, in - column);
                            for (int64_t i = 0; i < d.terms; i++) {
                                const float *a = masked.panels + ((panel * d.slots + slot) * masked.all + i * r) * kPanel;
                                const Term term = {masked.low + t * masked.all + i * r, masked.all, a, 0, r};
                                const Dropout dropout(d.dropout, d.seed, d.term[i].stream);
                                tile(rows, 1, &term, 1, nullptr, 0, nullptr, share, kPanel, kPanel);
                                for (int row = 0; row < rows; row++) {
                                    dropout.apply(t + row, column, share + row * kPanel, share + row * kPanel, width);
                                    float *to_row = dx + (t + row) * in + column;
                                    for (int64_t k = 0; k < width; k++) to_row[k] += share[row * kPanel + k];
                                }
                            }
                        }
                    }
                });
            });
        }
    }

    // dA and the router's gradient of all terms from one pass over x, or dA of each term from what its dropout left of x.
    const int64_t columns_parts = ceil_div(in, kColumns), direct_parts = direct.gradients() > 0 ? columns_parts : 0;
    const int64_t da_parts = direct_parts + (keeps_dropped ? d.terms * columns_parts : 0);
    int64_t parts = da_parts, first_part[ML_LORA_TERMS];  // of a term's dB
    for (int64_t i = 0; i < d.terms; i++) first_part[i] = parts, parts += ceil_div(d.term[i].rows, kColumns);
    parallel(context, static_cast<int>(parts), [&](int part) {
        int64_t term = d.terms - 1;
        while (term > 0 && part < first_part[term]) term--;
        for (int64_t slot = 0; slot < d.slots; slot++) {
            if (empty(d, slot)) continue;
            const int64_t from = d.slot_offsets[slot], to = d.slot_offsets[slot + 1];
            if (part < da_parts) {
                const bool of_x = part < direct_parts;
                const ARows &rows = of_x ? direct : masked;
                const int64_t pass = of_x ? 0 : (part - direct_parts) / columns_parts;
                const int64_t first = pass * r, count = of_x ? d.terms * rows.gradients() : r;
                const int64_t column0 = part % columns_parts * kColumns;
                const float *seen = of_x ? x : dropped + pass * tokens * in, *left = rows.columns + first * tokens;
                token_sums(left, count, tokens, from, to, seen, in, of_x ? ldx : in, column0,
                           [&](int64_t j, int tile_rows, int64_t column, int64_t width, const float *sums) {
                               for (int row = 0; row < tile_rows; row++) {
                                   float *da = gradient_row(d, rows, first + j + row, slot) + column;
                                   for (int64_t i = 0; i < width; i++) da[i] += sums[row * kTileColumns + i];
                               }
                           });
            } else {
                const ml_mixture_term &t = d.term[term];
                float *db = t.db + slot * d.slot_stride;
                const float *left = h_columns + term * columns * tokens;
                token_sums(left, columns, tokens, from, to, dy + t.first, t.rows, ldy, (part - first_part[term]) * kColumns,
                           [&](int64_t j, int rows, int64_t column, int64_t width, const float *sums) {
                               for (int64_t i = 0; i < width; i++) {
                                   float *to_row = db + (column + i) * columns + j;
                                   for (int row = 0; row < rows; row++) to_row[row] += sums[row * kTileColumns + i];
                               }
                           });
            }
        }
    });
    return ML_OK;
}

ml_status lora_linear_backward(Context &context, const ml_lora_linear_desc &d) { return backward(context, without_router(d)); }

ml_status mixture_linear_backward(Context &context, const ml_mixture_linear_desc &d) { return backward(context, d); }

}  // namespace METALORA_ISA
}  // namespace metalora
