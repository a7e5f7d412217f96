// Attention, forward and backward: grouped heads, windows, packs, a key/value cache.
#include "harness.h"
#include "reference.h"

using namespace test;

namespace {

struct Shape {
    int64_t heads, kv_heads, head_dim, window;
    std::vector<int32_t> queries, cached;  // lengths of the sequences; keys beyond the queries (empty: none)
    int64_t between = 0;                   // columns between the rows of q, k, v, o and their gradients
    std::string text() const {
        std::string s = format("heads %d/%d, head_dim %d, window %d, lengths", int(heads), int(kv_heads), int(head_dim), int(window));
        for (size_t i = 0; i < queries.size(); i++) s += format(" %d", queries[i]) + (cached.empty() ? "" : format("+%d", cached[i]));
        return s + (between == 0 ? "" : format(", %d between rows", int(between)));
    }
};

std::vector<int32_t> offsets(const std::vector<int32_t> &lengths, const std::vector<int32_t> &more = {}) {
    std::vector<int32_t> sums{0};
    for (size_t i = 0; i < lengths.size(); i++) sums.push_back(sums.back() + lengths[i] + (more.empty() ? 0 : more[i]));
    return sums;
}

struct Inputs {
    explicit Inputs(const Shape &s)
        : q_offsets(offsets(s.queries)), kv_offsets(offsets(s.queries, s.cached)),
          heads{s.heads, s.kv_heads, s.head_dim, s.window, 1 / std::sqrt(double(s.head_dim))} {
        Random random(static_cast<uint64_t>(s.head_dim * 131 + s.heads * 7 + q_offsets.back()));
        q = random.normal(q_offsets.back() * s.heads * s.head_dim);
        k = random.normal(kv_offsets.back() * s.kv_heads * s.head_dim);
        v = random.normal(kv_offsets.back() * s.kv_heads * s.head_dim);
        d_o = random.normal(q.size());
        heads.scale = float(heads.scale);
    }
    std::vector<int32_t> q_offsets, kv_offsets;
    reference::Heads heads;
    std::vector<float> q, k, v, d_o;
};

struct Outputs {
    std::vector<float> o, lse, dq, dk, dv;
};

Outputs run(Device &device, const Shape &s, const Inputs &in, bool backward) {
    const int64_t q_width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim, rows = in.q_offsets.back();
    Strided q(device, q_width, s.between, in.q), k(device, kv_width, s.between, in.k), v(device, kv_width, s.between, in.v);
    Strided o(device, rows, q_width, s.between);
    o.write(std::vector<float>(in.q.size(), NAN));
    Buffer<float> lse(device, in.q.size() / s.head_dim);
    Buffer<int32_t> q_offsets(device, in.q_offsets), kv_offsets(device, in.kv_offsets);
    ml_attention_desc d{};
    d.q = q, d.k = k, d.v = v, d.o = o, d.lse = lse;
    d.q_offsets = q_offsets;
    d.kv_offsets = s.cached.empty() ? nullptr : static_cast<int32_t *>(kv_offsets);
    d.tokens = rows;
    d.sequences = static_cast<int64_t>(s.queries.size());
    for (int32_t length : s.queries) d.max_length = std::max<int64_t>(d.max_length, length);
    d.heads = s.heads, d.kv_heads = s.kv_heads, d.head_dim = s.head_dim, d.window = s.window;
    d.scale = static_cast<float>(in.heads.scale);
    if (s.between > 0) d.q_stride = q.stride(), d.kv_stride = k.stride(), d.o_stride = o.stride();
    EXPECT_OK(ml_attention_forward(device, &d));
    Outputs out{o.read(), lse.read(), {}, {}, {}};
    if (!backward) return out;
    Activations d_o(device, in.d_o);
    Strided dq(device, rows, q_width, s.between), dk(device, rows, kv_width, s.between), dv(device, rows, kv_width, s.between);
    dq.write(std::vector<float>(in.q.size(), NAN)), dk.write(std::vector<float>(in.k.size(), NAN)), dv.write(std::vector<float>(in.k.size(), NAN));
    d.d_o = d_o, d.dq = dq, d.dk = dk, d.dv = dv;
    EXPECT_OK(ml_attention_backward(device, &d));
    out.dq = dq.read(), out.dk = dk.read(), out.dv = dv.read();
    return out;
}

// lse is float whatever the activations are, and what the backward makes weights of.
void expect_exact_lse(const std::vector<float> &lse, const reference::Vec &expected) {
    for (size_t i = 0; i < lse.size(); i++) EXPECT(std::fabs(lse[i] - expected[i]) <= 1e-5 * (1 + std::fabs(expected[i])));
}

const std::vector<Shape> &shapes() {
    static const std::vector<Shape> all = {
        {1, 1, 64, 0, {1}, {}},
        {3, 1, 64, 0, {5, 1, 17}, {}},
        {9, 3, 64, 0, {64, 0, 33, 90}, {}},
        {4, 4, 80, 0, {31, 65}, {}},
        {4, 1, 128, 0, {70, 2}, {}},
        {2, 1, 96, 0, {66, 130}, {}},
        {4, 2, 80, 33, {150}, {}},
        {2, 1, 128, 0, {200}, {}},       // more tiles than a ring holds
        {3, 1, 80, 0, {200}, {}},
        {1, 1, 128, 100, {250}, {}},     // tiles within the window, and at either of its edges
        {2, 2, 96, 64, {193}, {}},
        {2, 2, 20, 0, {129}, {}},        // no multiple of a vector, more than two key blocks
        {3, 3, 6, 0, {25, 40}, {}},
        {4, 2, 64, 0, {70, 0, 9}, {}, 40},   // rows apart, as q, k and v of one Linear lie
        {2, 1, 128, 20, {66, 3}, {}, 8},
        {3, 1, 20, 0, {40, 5}, {}, 7},
        {2, 1, 256, 0, {37, 2}, {}},     // the largest head that CUDA has kernels for
        {8, 2, 64, 16, {100, 7}, {}},    // window
        {2, 1, 32, 1, {70}, {}},         // each token sees itself alone
        {3, 1, 64, 70, {230, 64}, {}},   // window across key blocks
        {2, 1, 64, 0, {333}, {}},        // one long pair: split over threads
        {2, 1, 32, 40, {301}, {}},
        {1, 1, 16, 0, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3}, {}},
    };
    return all;
}

}  // namespace

TEST(attention_matches_reference) {
    for (auto &s : shapes()) {
        double pairs = 0;
        for (int32_t length : s.queries) pairs += double(length) * length;
        if (too_slow(pairs * double(s.heads) * double(s.head_dim))) continue;
        Case shape(s.text());
        const Inputs in(s);
        const auto q = wide(in.q), k = wide(in.k), v = wide(in.v);
        const auto forward = reference::attention(in.heads, q, k, v, in.q_offsets, in.q_offsets);
        const auto gradient = reference::attention_gradient(in.heads, q, k, v, in.q_offsets, wide(in.d_o));
        on_every_device([&](Device &device) {
            const Outputs out = run(device, s, in, true);
            EXPECT_CLOSE("o", out.o, forward.o, 1e-6);
            EXPECT_CLOSE_FLOAT("lse", out.lse, forward.lse, 1e-6);
            expect_exact_lse(out.lse, forward.lse);
            EXPECT_CLOSE("dv", out.dv, gradient.dv, 1e-6);
            if (s.window == 1 || in.q_offsets.back() == 1) {
                // The softmax of one score is constant: no gradient but rounding.
                for (float x : out.dq) EXPECT(std::fabs(x) < 10 * bound(1e-6));
                for (float x : out.dk) EXPECT(std::fabs(x) < 10 * bound(1e-6));
            } else {
                EXPECT_CLOSE("dq", out.dq, gradient.dq, 2e-6);
                EXPECT_CLOSE("dk", out.dk, gradient.dk, 2e-6);
            }
        });
    }
}

TEST(attention_with_cache_matches_reference) {
    const std::vector<Shape> cached = {
        {9, 3, 64, 0, {1, 1, 1}, {0, 63, 200}},      // decoding
        {4, 1, 128, 0, {1}, {500}},
        {2, 2, 64, 0, {5, 30, 0, 1}, {11, 100, 4, 0}},  // a prompt continued; a sequence without queries
        {9, 3, 64, 0, {150}, {77}},
        {4, 2, 32, 24, {1, 40}, {100, 90}},          // window
        {3, 1, 20, 0, {2}, {37}},
        {4, 2, 64, 0, {1, 3}, {40, 70}, 24},
        {2, 1, 128, 90, {70}, {201}},
        {2, 2, 96, 0, {3, 65}, {130, 190}},
        {2, 1, 80, 64, {33}, {160}},
    };
    for (auto &s : cached) {
        Case shape(s.text());
        const Inputs in(s);
        const auto expected = reference::attention(in.heads, wide(in.q), wide(in.k), wide(in.v), in.q_offsets, in.kv_offsets);
        on_every_device([&](Device &device) {
            const Outputs out = run(device, s, in, false);
            EXPECT_CLOSE("o", out.o, expected.o, 1e-6);
            EXPECT_CLOSE_FLOAT("lse", out.lse, expected.lse, 1e-6);
            expect_exact_lse(out.lse, expected.lse);
        });
    }
}

// Large scores: the weights are all but one-hot, and nothing overflows.
TEST(attention_large_scores) {
    const Shape s{3, 1, 64, 0, {70}, {}};
    Inputs in(s);
    for (float &x : in.q) x *= 40;
    const auto expected = reference::attention(in.heads, wide(in.q), wide(in.k), wide(in.v), in.q_offsets, in.q_offsets);
    on_every_device([&](Device &device) {
        const Outputs out = run(device, s, in, false);
        EXPECT_CLOSE("o", out.o, expected.o, 3e-5);  // scores of 1e2 and more carry that rounding
        EXPECT_CLOSE("lse", out.lse, expected.lse, 1e-6);
    });
}

TEST(attention_gradient_matches_finite_differences) {
    for (const Shape &s : {Shape{3, 1, 8, 0, {7, 1, 5}, {}}, Shape{4, 2, 6, 3, {9}, {}}}) {
        Case shape(s.text());
        const Inputs in(s);
        const auto q = wide(in.q), k = wide(in.k), v = wide(in.v), d_o = wide(in.d_o);
        auto loss = [&](const reference::Vec &q, const reference::Vec &k, const reference::Vec &v) {
            return dot(d_o, reference::attention(in.heads, q, k, v, in.q_offsets, in.q_offsets).o);
        };
        const auto dq = numeric_gradient(q, [&](auto &x) { return loss(x, k, v); });
        const auto dk = numeric_gradient(k, [&](auto &x) { return loss(q, x, v); });
        const auto dv = numeric_gradient(v, [&](auto &x) { return loss(q, k, x); });
        on_every_device([&](Device &device) {
            const Outputs out = run(device, s, in, true);
            EXPECT_CLOSE("dq", out.dq, dq, 2e-6);
            EXPECT_CLOSE("dk", out.dk, dk, 2e-6);
            EXPECT_CLOSE("dv", out.dv, dv, 2e-6);
        });
    }
}

TEST(attention_repeats_bit_for_bit) {
    for (const Shape &s : {Shape{9, 3, 64, 0, {64, 33, 90}, {}}, Shape{2, 1, 64, 0, {333}, {}}, Shape{2, 1, 64, 0, {66}, {}}}) {
        if (s.queries.back() > 66 && too_slow(1.6e7)) continue;
        Case shape(s.text());
        const Inputs in(s);
        on_every_device([&](Device &device) {
            const Outputs one = run(device, s, in, true);
            for (int again = 0; again < 3; again++) {
                const Outputs two = run(device, s, in, true);
                EXPECT_SAME_BITS("o", one.o, two.o);
                EXPECT_SAME_BITS("lse", one.lse, two.lse);
                EXPECT_SAME_BITS("dq", one.dq, two.dq);
                EXPECT_SAME_BITS("dk", one.dk, two.dk);
                EXPECT_SAME_BITS("dv", one.dv, two.dv);
            }
        });
    }
}

TEST(attention_sees_no_later_token_and_no_other_sequence) {
    const Shape s{3, 1, 64, 0, {40, 30}, {}};
    const Inputs in(s);
    Inputs changed(s);
    for (size_t i = 20 * 64; i < 40 * 64; i++) changed.k[i] += 1, changed.v[i] -= 2;  // tokens 20 .. 39
    on_every_device([&](Device &device) {
        const Outputs one = run(device, s, in, false), two = run(device, s, changed, false);
        const size_t row = 3 * 64;
        auto part = [&](const Outputs &out, size_t first, size_t last) {
            return std::vector<float>(out.o.begin() + first * row, out.o.begin() + last * row);
        };
        EXPECT_SAME_BITS("earlier tokens", part(one, 0, 20), part(two, 0, 20));
        EXPECT_SAME_BITS("the other sequence", part(one, 40, 70), part(two, 40, 70));
        EXPECT(part(one, 20, 40) != part(two, 20, 40));
    });
}

// Without lse, and an empty pack.
TEST(attention_optional_parts) {
    const Shape s{3, 1, 64, 0, {10}, {}};
    const Inputs in(s);
    on_every_device([&](Device &device) {
        Activations q(device, in.q), k(device, in.k), v(device, in.v), o(device, in.q.size());
        Buffer<int32_t> offsets(device, in.q_offsets), none(device, std::vector<int32_t>{0});
        ml_attention_desc d{};
        d.q = q, d.k = k, d.v = v, d.o = o, d.q_offsets = offsets;
        d.tokens = 10, d.sequences = 1, d.max_length = 10, d.heads = 3, d.kv_heads = 1, d.head_dim = 64;
        d.scale = static_cast<float>(in.heads.scale);
        EXPECT_OK(ml_attention_forward(device, &d));
        EXPECT_SAME_BITS("o", o.read(), run(device, s, in, false).o);
        d.tokens = 0, d.sequences = 0, d.max_length = 0, d.q_offsets = none;
        EXPECT_OK(ml_attention_forward(device, &d));
        d.sequences = 1, d.q_offsets = nullptr;
        EXPECT_INVALID(ml_attention_forward(device, &d), "q_offsets");
    });
}

TEST(attention_rejects_bad_arguments) {
    Device device(setups().front());
    const std::vector<int32_t> bounds{0, 4, 10}, backwards{0, 7, 4}, late{1, 4, 10}, keys{0, 3, 10};
    Activations q(device, 10 * 4 * 8), k(device, 10 * 2 * 8), v(device, 10 * 2 * 8), o(device, 10 * 4 * 8);
    Buffer<float> lse(device, 40);
    Activations d_o(device, 10 * 4 * 8), dq(device, 10 * 4 * 8), dk(device, 10 * 2 * 8), dv(device, 10 * 2 * 8);
    for (auto *buffer : {&q, &k, &v, &o, &d_o}) buffer->write(std::vector<float>(buffer->size(), 0.5f));
    Buffer<int32_t> offsets(device, bounds), falling(device, backwards), shifted(device, late), few(device, keys);
    ml_attention_desc good{};
    good.q = q, good.k = k, good.v = v, good.o = o, good.lse = lse, good.d_o = d_o, good.dq = dq, good.dk = dk, good.dv = dv;
    good.q_offsets = offsets, good.tokens = 10, good.sequences = 2, good.max_length = 6;
    good.heads = 4, good.kv_heads = 2, good.head_dim = 8, good.scale = 1;
    EXPECT_OK(ml_attention_forward(device, &good));
    EXPECT_OK(ml_attention_backward(device, &good));
    EXPECT_INVALID(ml_attention_forward(device, nullptr), "desc");
    EXPECT_INVALID(ml_attention_forward(nullptr, &good), "context");
    using Desc = ml_attention_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> both = {
        {"tokens", [](Desc &d) { d.tokens = -1; }},
        {"tokens", [](Desc &d) { d.tokens = INT64_MAX; }},
        {"sequences", [](Desc &d) { d.sequences = -1; }},
        {"heads", [](Desc &d) { d.heads = 0; }},
        {"kv_heads", [](Desc &d) { d.kv_heads = 3; }},
        {"kv_heads", [](Desc &d) { d.kv_heads = 0; }},
        {"head_dim", [](Desc &d) { d.head_dim = 0; }},
        {"head_dim", [](Desc &d) { d.head_dim = -8; }},
        {"window", [](Desc &d) { d.window = -1; }},
        {"scale", [](Desc &d) { d.scale = NAN; }},
        {"scale", [](Desc &d) { d.scale = 0; }},
        {"scale", [](Desc &d) { d.scale = -1; }},
        {"max_length", [](Desc &d) { d.max_length = 5; }},
        {"q_offsets", [&](Desc &d) { d.q_offsets = falling; }},
        {"q_offsets", [&](Desc &d) { d.q_offsets = shifted; }},
        {"q_offsets", [](Desc &d) { d.tokens = 9; }},
        {"q_offsets", [](Desc &d) { d.q_offsets = nullptr; }},
        {"q", [](Desc &d) { d.q = nullptr; }},
        {"k", [](Desc &d) { d.k = nullptr; }},
        {"v", [](Desc &d) { d.v = nullptr; }},
        {"o", [](Desc &d) { d.o = nullptr; }},
        {"q", [&](Desc &d) { d.q = q.at(320); }},  // too small from there
        {"q", [&](Desc &d) { d.q = &good; }},      // host memory
        {"q", [&](Desc &d) { d.q = reinterpret_cast<char *>(q.at(0)) + 1; }},
    };
    for (auto &[field, spoil] : both) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_attention_forward(device, &bad), field);
        EXPECT_INVALID(ml_attention_backward(device, &bad), field);
    }
    Desc bad = good;
    bad.kv_offsets = few;
    EXPECT_INVALID(ml_attention_forward(device, &bad), "kv_offsets");
    const std::vector<std::pair<const char *, void (*)(Desc &)>> backward = {
        {"lse", [](Desc &d) { d.lse = nullptr; }}, {"d_o", [](Desc &d) { d.d_o = nullptr; }},
        {"dq", [](Desc &d) { d.dq = nullptr; }},   {"dk", [](Desc &d) { d.dk = nullptr; }},
        {"dv", [](Desc &d) { d.dv = nullptr; }},
    };
    for (auto &[field, spoil] : backward) {
        bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_attention_backward(device, &bad), field);
    }
}
