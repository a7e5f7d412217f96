// lm_head + cross-entropy on the loss-bearing rows.
#include "reference.h"
#include "weights.h"

#include <malloc.h>

using namespace test;

namespace {

struct Shape {
    int64_t tokens, hidden, vocab, rows;
    int32_t storage;
    std::string text() const {
        return format("tokens %d, hidden %d, vocab %d, rows %d, %s", int(tokens), int(hidden), int(vocab), int(rows),
                      storage == ML_F32 ? "f32" : "bf16");
    }
};

struct Inputs {
    explicit Inputs(const Shape &s)
        : random(static_cast<uint64_t>(s.tokens * 17 + s.vocab)), w(random, s.vocab, s.hidden, s.storage, 2 / std::sqrt(double(s.hidden))) {
        x = random.normal(s.tokens * s.hidden);
        for (int64_t t = 0; t < s.tokens && static_cast<int64_t>(rows.size()) < s.rows; t++) {
            const int64_t left = s.tokens - t, needed = s.rows - static_cast<int64_t>(rows.size());
            if (random.below(left) < needed) rows.push_back(static_cast<int32_t>(t));
        }
        for (int64_t i = 0; i < s.rows; i++) target.push_back(static_cast<int32_t>(random.below(s.vocab)));
        if (s.rows > 1) target[0] = 0, target[1] = static_cast<int32_t>(s.vocab - 1);
        for (float value : random.normal(s.rows)) scale.push_back(std::fabs(value) / 3);
        if (s.rows > 2) scale[2] = 0;
    }
    Random random;
    FrozenMatrix w;
    std::vector<float> x, scale;
    std::vector<int32_t> rows, target;
};

struct Outputs {
    std::vector<float> logprob, dx;
    std::vector<int32_t> argmax;
};

struct Run {
    Run(Device &device, const Shape &s, const Inputs &in)
        : w(device, in.w), x(device, in.x), dx(device, in.x.size()), scale(device, in.scale), logprob(device, in.rows.size()),
          rows(device, in.rows), target(device, in.target), argmax(device, in.rows.size()) {
        d.x = x, d.w = w, d.rows = rows, d.target = target, d.row_scale = scale, d.logprob = logprob, d.argmax = argmax, d.dx = dx;
        d.tokens = s.tokens, d.count = static_cast<int64_t>(in.rows.size());
    }
    Outputs read() const { return {logprob.read(), dx.read(), argmax.read()}; }
    Weight w;
    Activations x, dx;
    Buffer<float> scale, logprob;
    Buffer<int32_t> rows, target, argmax;
    ml_cross_entropy_desc d{};
};

}  // namespace

TEST(cross_entropy_matches_reference) {
    for (const Shape &s : {Shape{1, 1, 2, 1, ML_F32}, {5, 7, 3, 3, ML_F32}, {1, 67, 1001, 1, ML_F32}, {2, 67, 1001, 2, ML_BF16}, {40, 64, 100, 40, ML_BF16}, {33, 67, 1001, 9, ML_F32},
                           too_slow(5e7) ? Shape{90, 32, 517, 70, ML_F32} : Shape{300, 32, 517, 257, ML_F32}, {64, 128, 5003, 20, ML_BF16}, {10, 16, 50, 0, ML_F32}, {0, 16, 50, 0, ML_F32},
                           {6, 24, 1, 2, ML_F32}, {170, 4, 60001, 150, ML_BF16}, {5, 4, 60001, 3, ML_BF16}, {4, 8, 2048, 3, ML_BF16},
                           {4, 8, 4097, 4, ML_BF16}, {3, 8, 6151, 3, ML_F32}}) {
        if (too_slow(double(s.rows) * double(s.hidden) * double(s.vocab))) continue;
        Case shape(s.text());
        const Inputs in(s);
        const auto expected = reference::cross_entropy(wide(in.x), in.w.values, s.hidden, in.rows, in.target, wide(in.scale));
        on_every_device([&](Device &device) {
            Run run(device, s, in);
            EXPECT_OK(ml_cross_entropy(device, &run.d));
            const Outputs out = run.read();
            if (s.vocab == 1) {
                for (float value : out.logprob) EXPECT(std::fabs(value) < 1e-6);
                for (float value : out.dx) EXPECT(std::fabs(value) < 1e-6);
            } else {
                EXPECT_CLOSE_FLOAT("logprob", out.logprob, expected.logprob, 1e-6);
                EXPECT_CLOSE("dx", out.dx, expected.dx, 2e-6);
            }
            EXPECT_SAME_BITS("argmax", out.argmax, expected.argmax);
            for (int64_t t = 0, i = 0; t < s.tokens; t++) {  // rows without loss are zero, not small
                if (i < s.rows && in.rows[i] == t && ++i) continue;
                for (int64_t c = 0; c < s.hidden; c++) EXPECT(out.dx[t * s.hidden + c] == 0);
            }
            // Losses alone.
            run.d.dx = nullptr, run.d.row_scale = nullptr, run.d.argmax = nullptr;
            run.logprob.write(std::vector<float>(in.rows.size(), 9.0f));
            EXPECT_OK(ml_cross_entropy(device, &run.d));
            if (s.vocab > 1) EXPECT_CLOSE("logprob alone", run.logprob.read(), expected.logprob, 1e-6);
            run.dx.write(in.x), run.d.dx = run.dx, run.d.row_scale = run.scale;
            EXPECT_OK(ml_cross_entropy(device, &run.d));
            EXPECT_SAME_BITS("again", run.dx.read(), out.dx);
        });
    }
}

TEST(cross_entropy_gradient_matches_finite_differences) {
    const Shape s{6, 5, 11, 4, ML_F32};
    const Inputs in(s);
    const auto expected = numeric_gradient(wide(in.x), [&](auto &x) {
        return -dot(wide(in.scale), reference::cross_entropy(x, in.w.values, s.hidden, in.rows, in.target, {}).logprob);
    });
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        EXPECT_CLOSE("dx", run.dx.read(), expected, 1e-6);
    });
}

// Logits of a thousand must not overflow; a target of next to no probability has a finite loss.
TEST(cross_entropy_large_logits) {
    const Shape s{20, 64, 300, 20, ML_F32};
    Inputs in(s);
    for (float &value : in.x) value *= 100;
    const auto expected = reference::cross_entropy(wide(in.x), in.w.values, s.hidden, in.rows, in.target, wide(in.scale));
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        EXPECT_CLOSE("logprob", run.logprob.read(), expected.logprob, 1e-6);
        EXPECT_CLOSE("dx", run.dx.read(), expected.dx, 1e-4);
    });
}

// Equal logits: the lowest id wins, wherever in the vocabulary the rivals lie.
TEST(cross_entropy_ties_give_the_lowest_id) {
    const int64_t vocab = 4500, hidden = 8;
    for (auto [low, high] : {std::pair<int, int>{0, 4499}, {3, 4}, {17, 500}, {4498, 4499}, {15, 16}, {5, 2053}}) {
        Case at(format("ids %d and %d", low, high));
        Random random(3);
        const Shape s{3, hidden, vocab, 3, ML_F32};
        Inputs in(s);
        for (int64_t id = 0; id < vocab; id++) {
            for (int64_t c = 0; c < hidden; c++) {
                in.w.source[id * hidden + c] = (id == low || id == high) ? 1.0f : -1.0f / (1 + static_cast<float>(id % 7));
            }
        }
        for (float &value : in.x) value = 1;
        on_every_device([&](Device &device) {
            Run run(device, s, in);
            EXPECT_OK(ml_cross_entropy(device, &run.d));
            EXPECT_SAME_BITS("argmax", run.argmax.read(), std::vector<int32_t>(3, low));
        });
    }
}

// Without dx a row may be asked about several targets, in any order.
TEST(cross_entropy_scores_alternatives_after_one_token) {
    const Shape s{5, 24, 301, 3, ML_F32};
    Inputs in(s);
    in.rows = {4, 1, 4, 4, 1, 4, 0};
    in.target = {7, 300, 0, 7, 12, 299, 5};
    const auto expected = reference::cross_entropy(wide(in.x), in.w.values, s.hidden, in.rows, in.target, {});
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        run.d.dx = nullptr;
        run.d.row_scale = nullptr;
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        EXPECT_CLOSE_FLOAT("logprob", run.logprob.read(), expected.logprob, 1e-6);
        EXPECT_SAME_BITS("argmax", run.argmax.read(), expected.argmax);
    });
}

// More rows than a chunk has.
// Several chunks, the last one short; on the CPU the kernels' chunks are small ones.
TEST(cross_entropy_in_chunks) {
    const Shape s = too_slow(5e7) ? Shape{120, 3, 5, 70, ML_F32} : Shape{4300, 3, 5, 4200, ML_F32};
    const Inputs in(s);
    const auto expected = reference::cross_entropy(wide(in.x), in.w.values, s.hidden, in.rows, in.target, wide(in.scale));
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        const Outputs out = run.read();
        EXPECT_CLOSE_FLOAT("logprob", out.logprob, expected.logprob, 1e-6);
        EXPECT_CLOSE("dx", out.dx, expected.dx, 2e-6);
        EXPECT_SAME_BITS("argmax", out.argmax, expected.argmax);
    });
}

#if defined(__GLIBC__) && !defined(METALORA_SANITIZE)
// What is rounded for one chunk's products is not held for the next one.
TEST(cross_entropy_in_bf16_arithmetic_holds_the_memory_of_one_chunk) {
    const Shape s{300, 8, 120000, 300, ML_BF16};  // five chunks
    const Inputs in(s);
    on_every_cpu_in_bf16([&](Device &device) {
        Run run(device, s, in);
        const auto held = [] {
            const auto info = mallinfo2();
            return info.uordblks + info.hblkhd;
        };
        const size_t before = held();
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        EXPECT(held() - before < (size_t(100) << 20));
        for (float value : run.read().logprob) EXPECT(value < 0 && value > -30);
    });
}
#endif

TEST(cross_entropy_repeats_bit_for_bit) {
    const Shape s = too_slow(5e7) ? Shape{80, 64, 501, 70, ML_BF16} : Shape{300, 64, 3001, 290, ML_BF16};
    const Inputs in(s);
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_cross_entropy(device, &run.d));
        const Outputs first = run.read();
        for (int again = 0; again < 2; again++) {
            EXPECT_OK(ml_cross_entropy(device, &run.d));
            EXPECT_SAME_BITS("logprob", run.logprob.read(), first.logprob);
            EXPECT_SAME_BITS("dx", run.dx.read(), first.dx);
        }
    });
}

TEST(cross_entropy_rejects_bad_arguments) {
    Device device(setups().front());
    const Shape s{6, 5, 11, 3, ML_F32};
    Inputs in(s);
    in.rows = {0, 2, 5};
    Run run(device, s, in);
    Buffer<int32_t> twice(device, {0, 2, 2}), falling(device, {2, 0, 5}), outside(device, {0, 2, 6}), word(device, {1, 11, 2});
    Buffer<int32_t> negative(device, {-1, 2, 3});
    const ml_cross_entropy_desc good = run.d;
    EXPECT_OK(ml_cross_entropy(device, &good));
    EXPECT_INVALID(ml_cross_entropy(device, nullptr), "desc");
    EXPECT_INVALID(ml_cross_entropy(nullptr, &good), "context");
    using Desc = ml_cross_entropy_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> spoils = {
        {"tokens", [](Desc &d) { d.tokens = -1; }},        {"count", [](Desc &d) { d.count = -1; }},
        {"count", [](Desc &d) { d.count = 7; }},           {"w", [](Desc &d) { d.w = nullptr; }},
        {"x", [](Desc &d) { d.x = nullptr; }},             {"rows", [](Desc &d) { d.rows = nullptr; }},
        {"rows", [&](Desc &d) { d.rows = twice; }},        {"rows", [&](Desc &d) { d.rows = falling; }},
        {"rows", [&](Desc &d) { d.rows = outside; }},      {"rows", [&](Desc &d) { d.rows = negative; }},
        {"target", [&](Desc &d) { d.target = word; }},     {"target", [&](Desc &d) { d.target = negative; }},
        {"target", [](Desc &d) { d.target = nullptr; }},   {"row_scale", [](Desc &d) { d.row_scale = nullptr; }},
        {"logprob", [](Desc &d) { d.logprob = nullptr; }}, {"argmax", [](Desc &d) { d.argmax = reinterpret_cast<int32_t *>(&d); }},
        {"dx", [](Desc &d) { d.dx = &d; }},                {"dx", [](Desc &d) { d.dx = const_cast<void *>(d.x); }},
        {"x", [](Desc &d) { d.tokens = INT32_MAX; }},
    };
    for (auto &[field, spoil] : spoils) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_cross_entropy(device, &bad), field);
    }
}
