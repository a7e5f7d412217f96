// Mixture linear: heads, slots, ranks, storage types, optional parts, dropout; forward and backward.
#include "dropout_mask.h"
#include "reference.h"
#include "weights.h"

using namespace test;

namespace {

struct Shape {
    int64_t in, out, rank, heads;
    std::vector<int32_t> slot_offsets;
    int32_t storage;
    bool bias, residual;
    std::vector<reference::MixtureTerm> terms = {};  // of several Linears in one; empty: one term over all rows
    int64_t between = 0;                             // columns between the rows of x and of y
    int64_t spare = 0;                               // of these, for the op to write to
    double router = 0.3;                             // standard deviation
    int64_t tokens() const { return slot_offsets.back(); }
    int64_t slots() const { return static_cast<int64_t>(slot_offsets.size()) - 1; }
    std::vector<reference::MixtureTerm> all_terms() const {
        return terms.empty() ? std::vector<reference::MixtureTerm>{{0, out}} : terms;
    }
    int64_t count() const { return static_cast<int64_t>(all_terms().size()); }
    int64_t b_size(int64_t term) const { return all_terms()[static_cast<size_t>(term)].rows * heads * rank; }
    // Adapter parameters of a slot: each term's a, its b, its router, then some that belong to others.
    int64_t a_of(int64_t term) const {
        int64_t at = 0;
        for (int64_t i = 0; i < term; i++) at = router_of(i) + heads * in;
        return at;
    }
    int64_t b_of(int64_t term) const { return a_of(term) + rank * in; }
    int64_t router_of(int64_t term) const { return b_of(term) + b_size(term); }
    int64_t stride() const { return a_of(count()) + 5; }
    size_t parameters() const { return static_cast<size_t>(slots() * stride()); }
    std::string text() const {
        std::string s = format("in %d, out %d, rank %d, heads %d, %s, slots", int(in), int(out), int(rank), int(heads),
                               storage == ML_F32 ? "f32" : "bf16");
        for (int32_t offset : slot_offsets) s += format(" %d", offset);
        for (auto &t : terms) s += format(", rows %d+%d", int(t.first), int(t.rows));
        if (between > 0) s += format(", %d between rows, %d spare", int(between), int(spare));
        return s + (bias ? ", bias" : "") + (residual ? ", residual" : "");
    }
};

const std::vector<Shape> &shapes() {
    static const std::vector<Shape> all = {
        {1, 1, 1, 1, {0, 1}, ML_F32, false, false},
        {5, 7, 3, 2, {0, 2, 3}, ML_F32, true, false},
        {67, 35, 8, 3, {0, 1}, ML_F32, true, true},                      // one and two tokens, as in generation
        {64, 100, 3, 5, {0, 1, 2}, ML_F32, false, true},
        {130, 100, 16, 4, {0, 0, 1}, ML_BF16, true, false},
        {64, 64, 4, 4, {0, 0, 17, 17, 40}, ML_F32, false, true},         // empty slots
        {67, 35, 8, 2, {0, 1, 30, 33}, ML_BF16, true, true},
        {96, 130, 1, 17, {0, 13, 77}, ML_F32, false, false},             // more heads than a vector holds
        {192, 200, 4, 4, {0, 5, 6, 7, 8, 50, 51, 90, 101}, ML_BF16, false, true},
        {300, 17, 8, 4, {0, 0}, ML_F32, false, false},                   // no tokens
        {33, 64, 4, 3, {0, 77}, ML_F32, false, true, {{8, 40}}, 3, 3},
        {48, 40, 4, 4, {0, 60}, ML_F32, false, false, {}, 0, 0, 30},     // weights next to 0 and 1
        // tensor cores on CUDA: ranks of one, several and parts of a tile; heads * r padded and not, above and below r + heads
        {200, 136, 4, 4, {0, 70, 75, 203}, ML_BF16, true, true},
        {64, 192, 12, 8, {0, 33, 133}, ML_BF16, false, false},
        {24, 16, 5, 3, {0, 9}, ML_BF16, true, false},
        {24, 64, 16, 1, {0, 300, 600}, ML_BF16, false, false},           // more than one part of a slot's tokens
        {8, 136, 4, 4, {0, 530}, ML_BF16, false, true, {}, 16, 16},
        // several Linears in one, rows apart
        {64, 96, 4, 4, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 96, 96},
        {72, 112, 4, 2, {0, 50}, ML_BF16, false, false, {{0, 64}, {64, 48}}, 40, 40},
        {72, 112, 4, 4, {0, 50}, ML_BF16, false, false, {{0, 64}}, 40, 8},                     // room for A and the router alone,
        {32, 48, 8, 1, {0, 40}, ML_BF16, false, true, {}, 8, 8},                               // and for B alone
        {40, 304, 5, 2, {0, 70, 75, 131}, ML_BF16, false, true, {{0, 264}, {288, 16}}, 8, 0},  // the one in the middle without
        {35, 50, 3, 4, {0, 9, 30}, ML_F32, true, true, {{0, 20}, {20, 17}, {40, 10}}, 5, 4},
        {130, 90, 9, 2, {0, 2}, ML_BF16, false, false, {{1, 40}, {41, 49}}, 0, 0},
    };
    return all;
}

struct Inputs {
    explicit Inputs(const Shape &s)
        : random(static_cast<uint64_t>(s.in * 31 + s.out * 7 + s.rank * 3 + s.heads)),
          w(random, s.out, s.in, s.storage, 1 / std::sqrt(double(s.in))),
          mixture{s.in, s.out, s.rank, s.heads, 0.75, s.all_terms(), s.slot_offsets} {
        x = random.normal(s.tokens() * s.in);
        if (s.bias) bias = random.normal(s.out);
        if (s.residual) residual = random.normal(s.tokens() * s.out);
        flat = random.normal(s.parameters(), 0.3);
        for (int64_t slot = 0; slot < s.slots(); slot++) {
            for (int64_t t = 0; t < s.count(); t++) {
                const auto router = random.normal(s.heads * s.in, s.router);
                std::copy(router.begin(), router.end(), flat.begin() + slot * s.stride() + s.router_of(t));
            }
        }
        dy = random.normal(s.tokens() * s.out);
        gradients = random.normal(s.parameters());
        before = random.normal(s.tokens() * s.in);
        mask.assign(s.count() * x.size(), 1);
        auto gather = [&](reference::Vec &to, int64_t of, int64_t count) {
            for (int64_t slot = 0; slot < s.slots(); slot++) {
                const auto start = flat.begin() + slot * s.stride() + of;
                to.insert(to.end(), start, start + count);
            }
        };
        for (int64_t t = 0; t < s.count(); t++) {
            gather(parameters.a, s.a_of(t), s.rank * s.in);
            gather(parameters.b, s.b_of(t), s.b_size(t));
            gather(parameters.router, s.router_of(t), s.heads * s.in);
        }
    }
    Random random;
    FrozenMatrix w;
    reference::Mixture mixture;
    std::vector<float> x, bias, residual, flat, dy, gradients, before;
    reference::MixtureParameters parameters;
    std::vector<double> mask;
    float dropout = 0;
    uint64_t seed = 11, stream = 5;
};

// The op's buffers and descriptor.
struct Run {
    Run(Device &device, const Shape &s, const Inputs &in)
        : w(device, {in.w.source.data(), ML_F32, s.storage, s.out, s.in, s.spare}), x(device, s.in, s.between, in.x),
          residual(device, s.out, s.between, s.residual ? in.residual : std::vector<float>(s.tokens() * s.out)),
          y(device, s.tokens(), s.out, s.between), dy(device, s.out, s.between, in.dy), dx(device, s.tokens() * s.in),
          bias(device, in.bias), h(device, s.tokens() * s.count() * s.rank), weights(device, s.tokens() * s.count() * s.heads),
          parameters(device, in.flat), gradients(device, in.gradients), slot_offsets(device, s.slot_offsets) {
        y.write(std::vector<float>(s.tokens() * s.out, NAN));
        d.x = x, d.w = w, d.y = y, d.h = h, d.weights = weights, d.dy = dy, d.dx = dx;
        if (s.bias) d.bias = bias;
        if (s.residual) d.residual = residual;
        d.slot_offsets = slot_offsets, d.tokens = s.tokens(), d.slots = s.slots(), d.slot_stride = s.stride();
        d.rank = s.rank, d.heads = s.heads, d.scale = static_cast<float>(in.mixture.scale);
        d.dropout = in.dropout, d.seed = in.seed;
        if (s.between > 0) d.x_stride = x.stride(), d.y_stride = y.stride(), d.spare = s.spare;
        for (auto &t : s.all_terms()) {
            const int64_t i = d.terms++;
            d.term[i] = {parameters.at(s.a_of(i)), parameters.at(s.b_of(i)), parameters.at(s.router_of(i)),
                         gradients.at(s.a_of(i)), gradients.at(s.b_of(i)), gradients.at(s.router_of(i)),
                         t.first, t.rows, in.stream + static_cast<uint64_t>(i)};
        }
    }
    Weight w;
    Strided x, residual, y, dy;
    Activations dx;
    Buffer<float> bias, h, weights, parameters, gradients;
    Buffer<int32_t> slot_offsets;
    ml_mixture_linear_desc d{};
};

// Each matrix of each slot for itself, so that no error hides behind a larger one; nothing between them changes.
void expect_gradients(const Shape &s, const Inputs &in, const std::vector<float> &actual, const reference::MixtureParameters &g) {
    std::vector<bool> seen(actual.size());
    const auto before = wide(in.gradients);
    for (int64_t t = 0, b = 0; t < s.count(); t++) {
        const int64_t of_a = s.rank * s.in, of_b = s.b_size(t), of_router = s.heads * s.in;
        for (int64_t slot = 0; slot < s.slots(); slot++) {
            Case at(format("slot %d, term %d", int(slot), int(t)));
            auto expect = [&](const char *what, const reference::Vec &all, int64_t first, int64_t place, int64_t count) {
                place += slot * s.stride();
                std::vector<float> values(actual.begin() + place, actual.begin() + place + count);
                reference::Vec expected(before.begin() + place, before.begin() + place + count);
                for (int64_t i = 0; i < count; i++) expected[static_cast<size_t>(i)] += all[static_cast<size_t>(first + i)];
                EXPECT_CLOSE(what, values, expected, 2e-6);
                std::fill(seen.begin() + place, seen.begin() + place + count, true);
            };
            expect("da", g.a, (t * s.slots() + slot) * of_a, s.a_of(t), of_a);
            expect("db", g.b, b, s.b_of(t), of_b);
            expect("drouter", g.router, (t * s.slots() + slot) * of_router, s.router_of(t), of_router);
            b += of_b;
        }
    }
    for (size_t i = 0; i < actual.size(); i++) EXPECT(seen[i] || actual[i] == in.gradients[i]);
}

// Without da, without drouter, and without both: nothing is added to these; the other gradients, and dx, are the same bits.
void expect_without_some(Device &device, Run &run, const Shape &s, const Inputs &in) {
    run.d.dx = run.dx, run.d.accumulate = 0;
    run.gradients.write(in.gradients);
    EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
    const auto all = run.gradients.read(), dx = run.dx.read();
    const ml_mixture_linear_desc with_all = run.d;
    for (auto [has_da, has_drouter] : {std::pair{false, true}, {true, false}, {false, false}}) {
        Case with(format("%s da, %s drouter", has_da ? "with" : "without", has_drouter ? "with" : "without"));
        auto expected = all;
        run.d = with_all;
        for (int64_t t = 0; t < s.count(); t++) {
            auto leave = [&](int64_t of, int64_t floats) {
                for (int64_t slot = 0; slot < s.slots(); slot++) {
                    const auto first = static_cast<ptrdiff_t>(slot * s.stride() + of);
                    std::copy_n(in.gradients.begin() + first, floats, expected.begin() + first);
                }
            };
            if (!has_da) run.d.term[t].da = nullptr, leave(s.a_of(t), s.rank * s.in);
            if (!has_drouter) run.d.term[t].drouter = nullptr, leave(s.router_of(t), s.heads * s.in);
        }
        for (bool with_dx : {true, false}) {
            run.d.dx = with_dx ? static_cast<void *>(run.dx) : nullptr;
            run.dx.write(in.before);
            run.gradients.write(in.gradients);
            EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
            EXPECT_SAME_BITS("gradients", run.gradients.read(), expected);
            if (with_dx) EXPECT_SAME_BITS("dx", run.dx.read(), dx);
        }
    }
    run.d = with_all;
}

void expect_matches_on(Device &device, const Shape &s, const Inputs &in, const reference::MixtureResult &forward,
                       const reference::MixtureGradient &gradient) {
    Run run(device, s, in);
    EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
    EXPECT_CLOSE("y", run.y.read(), forward.y, 1e-6);
    if (in.dropout == 0) EXPECT_CLOSE_FLOAT("h", run.h.read(), forward.h, 1e-6);
    else EXPECT_CLOSE("h", run.h.read(), forward.h, 1e-6);
    EXPECT_CLOSE_FLOAT("weights", run.weights.read(), forward.weights, 2e-6);
    EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
    EXPECT_CLOSE("dx", run.dx.read(), gradient.dx, 1e-6);
    expect_gradients(s, in, run.gradients.read(), gradient.parameters);

    // dx added to what is there; the gradients are added once more.
    run.dx.write(in.before);
    run.gradients.write(in.gradients);
    run.d.accumulate = 1;
    EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
    auto added = gradient.dx;
    for (size_t i = 0; i < added.size(); i++) added[i] += in.before[i];
    EXPECT_CLOSE("dx accumulated", run.dx.read(), added, 1e-6);
    run.x.read(s.spare), run.dy.read(s.spare);  // nothing else was written to

    // Without dx: the gradients are the same bits.
    const auto with_dx = run.gradients.read();
    run.gradients.write(in.gradients);
    run.d.dx = nullptr;
    EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
    EXPECT_SAME_BITS("gradients without dx", run.gradients.read(), with_dx);
    expect_without_some(device, run, s, in);
    if (s.residual) {
        run.y.write(in.residual);
        run.d.residual = run.y;
        EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
        EXPECT_CLOSE("y in the residual's place", run.y.read(), forward.y, 1e-6);
    }
}

void expect_matches(const Shape &s, const Inputs &in) {
    const auto &p = in.parameters;
    const auto x = wide(in.x);
    const auto forward = reference::mixture_linear(in.mixture, x, in.w.values, wide(in.bias), wide(in.residual), p, in.mask);
    const auto gradient = reference::mixture_linear_gradient(in.mixture, x, in.w.values, p, in.mask, wide(in.dy));
    on_every_device([&](Device &device) { expect_matches_on(device, s, in, forward, gradient); });
}

}  // namespace

TEST(mixture_linear_matches_reference) {
    for (auto &s : shapes()) {
        if (too_slow(double(s.in) * double(s.out) * double(s.tokens()) / 4)) continue;
        Case shape(s.text());
        const Inputs in(s);
        expect_matches(s, in);
    }
}

TEST(mixture_linear_with_dropout_matches_reference) {
    for (const Shape &s : {Shape{67, 35, 8, 3, {0, 1, 30, 33}, ML_BF16, true, true},
                           {192, 64, 4, 4, {0, 50, 50, 90}, ML_F32, false, true},
                           {5, 9, 3, 2, {0, 7}, ML_F32, false, false},
                           // several Linears in one: each drops from x what it would alone, and all routers see x itself
                           {64, 96, 4, 4, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 96, 96},
                           {24, 40, 5, 3, {0, 9, 30}, ML_BF16, false, false, {{0, 16}, {24, 16}}},
                           {35, 50, 3, 4, {0, 9, 30}, ML_F32, true, false, {{0, 20}, {20, 30}}, 5, 4}}) {
        Case shape(s.text());
        Inputs in(s);
        in.dropout = 0.3f, in.seed = 0x123456789ABCDEFull, in.stream = 1ull << 40;
        Device first(setups().front());
        in.mask.clear();
        for (int64_t i = 0; i < s.count(); i++) {
            const auto mask = observe_mask(first, s.tokens(), s.in, in.dropout, in.seed, in.stream + static_cast<uint64_t>(i));
            in.mask.insert(in.mask.end(), mask.begin(), mask.end());
        }
        expect_matches(s, in);
    }
}

TEST(mixture_linear_gradient_matches_finite_differences) {
    const Shape s{5, 4, 2, 3, {0, 2, 2, 5}, ML_F32, true, true};
    Inputs in(s);
    in.dropout = 0.25f;
    Device first(setups().front());
    in.mask = observe_mask(first, s.tokens(), s.in, in.dropout, in.seed, in.stream);
    const auto x = wide(in.x), bias = wide(in.bias), residual = wide(in.residual), dy = wide(in.dy);
    const reference::MixtureParameters p = in.parameters;
    auto loss = [&](const reference::Vec &x, const reference::MixtureParameters &p) {
        return dot(dy, reference::mixture_linear(in.mixture, x, in.w.values, bias, residual, p, in.mask).y);
    };
    const auto dx = numeric_gradient(x, [&](auto &at) { return loss(at, p); });
    const reference::MixtureParameters g = {numeric_gradient(p.a, [&](auto &at) { return loss(x, {at, p.b, p.router}); }),
                                            numeric_gradient(p.b, [&](auto &at) { return loss(x, {p.a, at, p.router}); }),
                                            numeric_gradient(p.router, [&](auto &at) { return loss(x, {p.a, p.b, at}); })};
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
        EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
        EXPECT_CLOSE("dx", run.dx.read(), dx, 1e-6);
        expect_gradients(s, in, run.gradients.read(), g);
    });
}

// One head has the weight 1, whatever its router holds, and no gradient of that.
TEST(mixture_linear_of_one_head_is_the_lora_linear) {
    for (float dropout : {0.0f, 0.25f}) {
        for (const Shape &s : {Shape{64, 96, 8, 1, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 144, 144},
                               {67, 35, 8, 1, {0, 1, 30, 33}, ML_F32, true, true},
                               {24, 40, 5, 1, {0, 30}, ML_BF16, false, false}}) {
            Case shape(s.text() + format(", dropout %g", dropout));
            Inputs in(s);
            in.dropout = dropout;
            on_every_device([&](Device &device) {
                Run mixture(device, s, in), lora(device, s, in);
                const auto &m = lora.d;
                ml_lora_linear_desc d{};
                d.x = m.x, d.w = m.w, d.bias = m.bias, d.residual = m.residual, d.y = m.y, d.h = m.h, d.dy = m.dy, d.dx = m.dx;
                d.slot_offsets = m.slot_offsets, d.tokens = m.tokens, d.slots = m.slots, d.slot_stride = m.slot_stride;
                d.rank = m.rank, d.terms = m.terms, d.scale = m.scale, d.dropout = m.dropout, d.seed = m.seed;
                d.x_stride = m.x_stride, d.y_stride = m.y_stride, d.spare = m.spare;
                for (int64_t i = 0; i < m.terms; i++) {
                    const ml_mixture_term &t = m.term[i];
                    d.term[i] = {t.a, t.b, t.da, t.db, t.first, t.rows, t.stream};
                }
                EXPECT_OK(ml_mixture_linear_forward(device, &mixture.d));
                EXPECT_OK(ml_mixture_linear_backward(device, &mixture.d));
                EXPECT_OK(ml_lora_linear_forward(device, &d));
                EXPECT_OK(ml_lora_linear_backward(device, &d));
                EXPECT_CLOSE("h", mixture.h.read(), wide(lora.h.read()), 1e-6);
                EXPECT_CLOSE("y", mixture.y.read(s.spare), wide(lora.y.read(s.spare)), 1e-6);
                EXPECT_CLOSE("dx", mixture.dx.read(), wide(lora.dx.read()), 1e-6);
                EXPECT_CLOSE("gradients", mixture.gradients.read(), wide(lora.gradients.read()), 1e-6);
                EXPECT(mixture.weights.read() == std::vector<float>(mixture.weights.size(), 1.0f));
                const auto gradients = mixture.gradients.read();
                for (int64_t t = 0; t < s.count(); t++) {
                    const auto first = static_cast<size_t>(s.router_of(t)), last = first + static_cast<size_t>(s.in);
                    EXPECT_SAME_BITS("drouter", std::vector<float>(gradients.begin() + first, gradients.begin() + last),
                                     std::vector<float>(in.gradients.begin() + first, in.gradients.begin() + last));
                }
            });
        }
    }
}

TEST(mixture_linear_repeats_bit_for_bit) {
    for (int32_t storage : {ML_F32, ML_BF16}) {
        const Shape s = too_slow(3.3e7) ? Shape{72, 136, 4, 4, {0, 5, 6, 50, 101}, storage, false, true}
                                        : Shape{192, 576, 4, 4, {0, 5, 6, 7, 8, 50, 51, 90, 301}, storage, false, true};
        Case shape(s.text());
        Inputs in(s);
        in.dropout = 0.1f;
        on_every_device([&](Device &device) {
            std::vector<std::vector<float>> first;
            for (int again = 0; again < 3; again++) {
                Run run(device, s, in);
                EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
                EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
                const std::vector<std::vector<float>> now{run.y.read(), run.h.read(), run.weights.read(), run.dx.read(),
                                                          run.gradients.read()};
                for (size_t i = 0; i < first.size(); i++) EXPECT_SAME_BITS("again", now[i], first[i]);
                first = now;
            }
        });
    }
}

// What one slot computes does not depend on what the others hold; what one without tokens holds, not even a NaN, reaches nobody.
TEST(mixture_linear_slots_are_separate) {
    for (int64_t spare : {0, 72}) {
        const Shape s{64, 48, 4, 4, {0, 20, 20, 45}, ML_BF16, false, false, {}, spare, spare};
        Case shape(s.text());
        Inputs in(s);
        on_every_device([&](Device &device) {
            auto head = [](const std::vector<float> &v, int64_t n) { return std::vector<float>(v.begin(), v.begin() + n); };
            std::vector<std::vector<float>> first;
            for (float value : {1.0f, NAN, INFINITY}) {
                auto flat = in.flat;
                for (int64_t i = s.stride(); i < 2 * s.stride(); i++) flat[static_cast<size_t>(i)] = value;
                if (std::isnan(value)) {
                    for (int64_t i = 2 * s.stride(); i < 3 * s.stride(); i++) flat[static_cast<size_t>(i)] += 1;
                }
                Run run(device, s, in);
                run.parameters.write(flat);
                EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
                EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
                const std::vector<std::vector<float>> now{head(run.y.read(spare), 20 * 48), head(run.weights.read(), 20 * 4),
                                                          head(run.dx.read(), 20 * 64), head(run.gradients.read(), s.stride())};
                for (size_t i = 0; i < first.size(); i++) EXPECT_SAME_BITS("of slot 0", now[i], first[i]);
                for (float y : run.y.read(spare)) EXPECT(std::isfinite(y));
                first = now;
            }
        });
    }
}

// A router that prefers none: the heads are their mean.
TEST(mixture_linear_heads_without_preference_are_their_mean) {
    Shape s{48, 64, 4, 4, {0, 33}, ML_F32, false, false};
    s.router = 0;
    Inputs in(s);
    auto mean = in.parameters.b;  // in the place of every head's
    for (int64_t row = 0; row < s.out; row++) {
        for (int64_t i = 0; i < s.rank; i++) {
            auto at = [&](int64_t j) { return static_cast<size_t>((row * s.heads + j) * s.rank + i); };
            double sum = 0;
            for (int64_t j = 0; j < s.heads; j++) sum += in.parameters.b[at(j)];
            for (int64_t j = 0; j < s.heads; j++) mean[at(j)] = sum / double(s.heads);
        }
    }
    in.parameters.b = mean;
    const auto expected = reference::mixture_linear(in.mixture, wide(in.x), in.w.values, {}, {}, in.parameters, in.mask);
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
        EXPECT(run.weights.read() == std::vector<float>(run.weights.size(), 0.25f));
        EXPECT_CLOSE("y", run.y.read(), expected.y, 1e-6);
    });
}

TEST(mixture_linear_runs_from_a_plan_and_a_graph) {
    if (!on_cuda()) return;
    const Shape s{64, 96, 4, 4, {0, 20, 45}, ML_BF16, true, false, {{0, 48}, {48, 48}}};
    for (float dropout : {0.0f, 0.25f}) {
        Case shape(s.text() + format(", dropout %g", dropout));
        Inputs in(s);
        in.dropout = dropout;
        on_every_device([&](Device &device) {
            Run run(device, s, in);
            auto both = [&] {
                EXPECT_OK(ml_mixture_linear_forward(device, &run.d));
                EXPECT_OK(ml_mixture_linear_backward(device, &run.d));
            };
            int64_t planned = 0;
            EXPECT_OK(ml_plan_begin(device));
            both();
            EXPECT_OK(ml_plan_end(device, &planned));
            EXPECT(planned > 0);
            ml_context_info before{}, after{};
            EXPECT_OK(ml_context_get_info(device, &before));
            both();
            EXPECT_OK(ml_context_get_info(device, &after));
            EXPECT(after.memory_in_use == before.memory_in_use);  // what was planned sufficed
            const auto y = run.y.read(), dx = run.dx.read(), gradients = run.gradients.read();
            run.gradients.write(in.gradients);
            ml_graph *graph = nullptr;
            EXPECT_OK(ml_graph_begin(device));
            both();
            EXPECT_OK(ml_graph_end(device, &graph));
            EXPECT_OK(ml_graph_launch(device, graph));
            EXPECT_SAME_BITS("y", run.y.read(), y);
            EXPECT_SAME_BITS("dx", run.dx.read(), dx);
            EXPECT_SAME_BITS("gradients", run.gradients.read(), gradients);
            EXPECT_OK(ml_graph_destroy(device, graph));
        });
    }
}

TEST(mixture_linear_rejects_bad_arguments) {
    Device device(setups().front());
    const Shape s{16, 24, 4, 3, {0, 3, 10}, ML_F32, true, true, {{0, 10}, {12, 12}}};
    const Inputs in(s);
    Run run(device, s, in);
    Buffer<int32_t> falling(device, {0, 11, 10});
    const ml_mixture_linear_desc good = run.d;
    EXPECT_OK(ml_mixture_linear_forward(device, &good));
    EXPECT_OK(ml_mixture_linear_backward(device, &good));
    EXPECT_INVALID(ml_mixture_linear_forward(device, nullptr), "desc");
    EXPECT_INVALID(ml_mixture_linear_backward(device, nullptr), "desc");
    EXPECT_INVALID(ml_mixture_linear_forward(nullptr, &good), "context");
    using Desc = ml_mixture_linear_desc;
    using Bad = std::vector<std::pair<const char *, std::function<void(Desc &)>>>;
    const Bad both = {
        {"tokens", [](Desc &d) { d.tokens = -1; }},
        {"rank", [](Desc &d) { d.rank = 0; }},
        {"rank", [](Desc &d) { d.rank = INT64_MAX; }},
        {"heads", [](Desc &d) { d.heads = 0; }},
        {"heads", [](Desc &d) { d.heads = 16385; }},  // times the rank
        {"w", [](Desc &d) { d.w = nullptr; }},
        {"slots", [](Desc &d) { d.slots = 0; }},
        {"slot_stride", [](Desc &d) { d.slot_stride = 143; }},  // B's
        {"scale", [](Desc &d) { d.scale = INFINITY; }},
        {"dropout", [](Desc &d) { d.dropout = 1; }},
        {"slot_offsets", [&](Desc &d) { d.slot_offsets = falling; }},
        {"x", [](Desc &d) { d.x = nullptr; }},
        {"a", [](Desc &d) { d.term[1].a = nullptr; }},
        {"b", [](Desc &d) { d.term[0].b = nullptr; }},
        {"router", [](Desc &d) { d.term[1].router = nullptr; }},
        {"router", [](Desc &d) { d.term[1].router += 100; }},  // its last rows are behind the parameters
        {"terms", [](Desc &d) { d.terms = 0; }},
        {"terms", [](Desc &d) { d.terms = ML_LORA_TERMS + 1; }},
        {"term.first", [](Desc &d) { d.term[1].first = 9; }},
        {"term.rows", [](Desc &d) { d.term[1].rows = 13; }},
        {"x_stride", [](Desc &d) { d.x_stride = 15; }},
        {"y_stride", [](Desc &d) { d.y_stride = 23; }},
        {"spare", [](Desc &d) { d.spare = -1; }},
        {"h", [](Desc &d) { d.h = nullptr; }},
        {"weights", [](Desc &d) { d.weights = nullptr; }},
        {"weights", [](Desc &d) { d.weights += 100; }},
    };
    for (auto &[field, spoil] : both) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_mixture_linear_forward(device, &bad), field);
        EXPECT_INVALID(ml_mixture_linear_backward(device, &bad), field);
    }
    const Bad forward = {
        {"y", [](Desc &d) { d.y = nullptr; }},
        {"y", [](Desc &d) { d.y = const_cast<void *>(d.x); }},
        {"bias", [](Desc &d) { d.bias = &d.scale; }},
        {"residual", [](Desc &d) { d.residual = &d.scale; }},
    };
    for (auto &[field, spoil] : forward) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_mixture_linear_forward(device, &bad), field);
    }
    const Bad backward = {
        {"da: is NULL in some terms alone", [](Desc &d) { d.term[0].da = nullptr; }},
        {"da: is NULL in some terms alone", [](Desc &d) { d.term[1].da = nullptr; }},
        {"drouter: is NULL in some terms alone", [](Desc &d) { d.term[0].drouter = nullptr; }},
        {"drouter: is NULL in some terms alone", [](Desc &d) { d.term[1].drouter = nullptr; }},
        {"db", [](Desc &d) { d.term[0].db = nullptr; }},
        {"drouter: overlaps", [](Desc &d) { d.term[0].drouter = d.term[0].da + 63; }},                       // its last element
        {"da: overlaps", [](Desc &d) { d.term[1].da = d.term[0].db; }},
        {"db: overlaps", [](Desc &d) { d.term[1].db = d.term[0].da; }},
        {"db: overlaps", [](Desc &d) { d.slot_stride = 150; }},  // with da of the next slot
        {"dy", [](Desc &d) { d.dy = nullptr; }},
        {"dx", [](Desc &d) { d.dx = &d.scale; }},
        {"dx", [](Desc &d) { d.dx = const_cast<void *>(d.dy); }},
        {"dx", [](Desc &d) { d.dx = const_cast<void *>(d.x); }},
    };
    for (auto &[field, spoil] : backward) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_mixture_linear_backward(device, &bad), field);
    }
}
