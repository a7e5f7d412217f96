// Vectors over slots: fill, broadcast, clipping by norm, SGD, AdamW.
#include "harness.h"

#include <algorithm>

using namespace test;

namespace {

struct Shape {
    int64_t count, stride, slots;
    size_t floats() const { return slots == 0 ? 0 : static_cast<size_t>((slots - 1) * stride + count); }
    std::string text() const { return format("count %d, stride %d, slots %d", int(count), int(stride), int(slots)); }
    // body(index) for every element of every slot
    template <class Body>
    void each(const Body &body) const {
        for (int64_t slot = 0; slot < slots; slot++) {
            for (int64_t i = 0; i < count; i++) body(static_cast<size_t>(slot * stride + i));
        }
    }
};

const std::vector<Shape> shapes = {{1, 1, 1}, {7, 9, 3}, {100, 100, 2}, {1000, 1003, 4}, {70001, 70016, 2}, {5, 5, 0}, {0, 8, 2},
                                   {4, 8, 3}, {20004, 20012, 3}, {1000, 1004, 1}};

// What lies between slots must not change; elements of `after` outside the slots are those of `before`.
void expect_gaps_kept(const Shape &s, const std::vector<float> &before, std::vector<float> after) {
    s.each([&](size_t i) { after[i] = before[i]; });
    EXPECT_SAME_BITS("between slots", before, after);
}

}  // namespace

TEST(fill_and_broadcast) {
    on_every_device([&](Device &device) {
        for (int64_t count : {0, 1, 5, 8, 1001, 100003}) {
            Case shape(format("count %d", int(count)));
            Buffer<float> x(device, count);
            EXPECT_OK(ml_fill(device, x, count, -2.5f));
            EXPECT_SAME_BITS("fill", x.read(), std::vector<float>(count, -2.5f));
        }
        for (auto &s : shapes) {
            Case shape(s.text());
            Random random(4);
            const auto from = random.normal(s.count), before = random.normal(s.floats());
            Buffer<float> source(device, from), to(device, before);
            EXPECT_OK(ml_broadcast(device, to, source, s.count, s.stride, s.slots));
            auto expected = before;
            s.each([&](size_t i) { expected[i] = from[i % static_cast<size_t>(s.stride)]; });
            EXPECT_SAME_BITS("broadcast", to.read(), expected);
        }
    });
}

// Vectors that do not begin at a multiple of 16 bytes, though their lengths are.
TEST(vectors_at_any_address_match_reference) {
    Random random(6);
    const auto values = random.normal(65), grad = random.normal(64);
    on_every_device([&](Device &device) {
        const std::vector<float> zeros(65, 0.0f);
        Buffer<float> p(device, values), g(device, grad), m(device, zeros), v(device, zeros), norm(device, 2);
        ml_sgd_desc sgd{};
        sgd.parameter = p.at(1), sgd.grad = g, sgd.count = 32, sgd.stride = 32, sgd.slots = 2, sgd.lr = 0.5f;
        EXPECT_OK(ml_sgd_step(device, &sgd));
        auto expected = wide(values);
        for (int i = 0; i < 64; i++) expected[i + 1] -= 0.5 * grad[i];
        EXPECT_CLOSE("sgd", p.read(), expected, 1e-7);

        ml_clip_desc clip{};
        clip.grad = p.at(1), clip.norm = norm, clip.count = 64, clip.stride = 64, clip.slots = 1, clip.max_norm = 1;
        const double first = expected[0], length = std::sqrt(dot(expected, expected) - first * first);
        EXPECT_OK(ml_clip_global_norm(device, &clip));
        for (int i = 0; i < 64; i++) expected[i + 1] /= length;
        EXPECT_CLOSE("clip", p.read(), expected, 2e-7);

        ml_adamw_desc adamw{};  // a first step is one of lr, against the gradient's sign
        adamw.parameter = p.at(1), adamw.grad = g, adamw.m = m.at(1), adamw.v = v.at(1), adamw.count = adamw.stride = 64, adamw.slots = 1;
        adamw.lr = 0.25f, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f, adamw.step = 1;
        EXPECT_OK(ml_adamw_step(device, &adamw));
        for (int i = 0; i < 64; i++) expected[i + 1] -= grad[i] < 0 ? -0.25 : 0.25;
        EXPECT_CLOSE("adamw", p.read(), expected, 2e-7);

        EXPECT_OK(ml_broadcast(device, p.at(1), g, 32, 32, 2));
        EXPECT_OK(ml_fill(device, g.at(3), 60, 2));
        auto filled = grad, spread = narrow(expected);
        std::fill_n(filled.begin() + 3, 60, 2.0f);
        for (int i = 0; i < 64; i++) spread[i + 1] = grad[i % 32];
        spread[0] = values[0];
        EXPECT_SAME_BITS("fill", g.read(), filled);
        EXPECT_SAME_BITS("broadcast", p.read(), spread);
    });
}

TEST(clip_global_norm_matches_reference) {
    for (auto &s : shapes) {
        Case shape(s.text());
        Random random(8);
        const auto grad = random.normal(s.floats());
        std::vector<double> norm(s.slots);
        for (int64_t slot = 0; slot < s.slots; slot++) {
            for (int64_t i = 0; i < s.count; i++) norm[slot] += std::pow(double(grad[slot * s.stride + i]), 2);
            norm[slot] = std::sqrt(norm[slot]);
        }
        // No limit, a limit that some slots exceed, one that all exceed.
        const double middle = norm.size() > 1 ? (norm[0] + norm[1]) / 2 : 1e9;
        for (float limit : {0.0f, static_cast<float>(middle), 0.01f}) {
            Case at(format("max_norm %g", limit));
            auto expected = wide(grad);
            s.each([&](size_t i) {
                if (limit > 0) expected[i] *= std::min(1.0, limit / (norm[i / s.stride] + 1e-6));
            });
            on_every_device([&](Device &device) {
                Buffer<float> g(device, grad), norms(device, s.slots);
                ml_clip_desc d{};
                d.grad = g, d.norm = norms, d.count = s.count, d.stride = s.stride, d.slots = s.slots, d.max_norm = limit;
                EXPECT_OK(ml_clip_global_norm(device, &d));
                EXPECT_CLOSE("norm", norms.read(), norm, 6e-8);
                EXPECT_CLOSE("grad", g.read(), expected, 2e-7);
                expect_gaps_kept(s, grad, g.read());
            });
        }
    }
}

// A million tenths: float sums would be off in the fourth digit.
TEST(clip_global_norm_sums_in_double) {
    on_every_device([&](Device &device) {
        const size_t count = 1000003;
        Buffer<float> g(device, std::vector<float>(count, 0.1f)), norm(device, 1);
        ml_clip_desc d{};
        d.grad = g, d.norm = norm, d.count = count, d.stride = count, d.slots = 1;
        EXPECT_OK(ml_clip_global_norm(device, &d));
        EXPECT_CLOSE("norm", norm.read(), {std::sqrt(double(count)) * double(0.1f)}, 6e-8);
        auto broken = g.read();
        broken[500000] = NAN;
        g.write(broken);
        d.max_norm = 1;
        EXPECT_OK(ml_clip_global_norm(device, &d));
        EXPECT(std::isnan(norm.read()[0]));
    });
}

TEST(sgd_matches_reference) {
    for (auto &s : shapes) {
        Case shape(s.text());
        Random random(9);
        const auto parameter = random.normal(s.floats()), grad = random.normal(s.floats());
        auto expected = wide(parameter);
        s.each([&](size_t i) { expected[i] -= double(0.05f) * (grad[i] + double(0.1f) * parameter[i]); });
        on_every_device([&](Device &device) {
            Buffer<float> p(device, parameter), g(device, grad);
            ml_sgd_desc d{};
            d.parameter = p, d.grad = g, d.count = s.count, d.stride = s.stride, d.slots = s.slots, d.lr = 0.05f, d.weight_decay = 0.1f;
            EXPECT_OK(ml_sgd_step(device, &d));
            EXPECT_CLOSE("parameter", p.read(), expected, 1e-7);
            expect_gaps_kept(s, parameter, p.read());
            EXPECT_SAME_BITS("grad", g.read(), grad);
        });
    }
}

// torch.optim.AdamW, five steps of changing gradients.
TEST(adamw_matches_reference) {
    for (auto &s : shapes) {
        Case shape(s.text());
        Random random(10);
        const auto start = random.normal(s.floats());
        std::vector<std::vector<float>> grads;
        for (int t = 0; t < 5; t++) grads.push_back(random.normal(s.floats(), t == 2 ? 1e-4 : 1));
        const double lr = 0.01f, b1 = 0.9f, b2 = 0.999f, eps = 1e-8f, decay = 0.1f;
        auto parameter = wide(start);
        std::vector<double> m(s.floats()), v(s.floats());
        for (int t = 1; t <= 5; t++) {
            s.each([&](size_t i) {
                const double g = grads[t - 1][i];
                parameter[i] *= 1 - lr * decay;
                m[i] = b1 * m[i] + (1 - b1) * g;
                v[i] = b2 * v[i] + (1 - b2) * g * g;
                parameter[i] -= lr / (1 - std::pow(b1, t)) * m[i] / (std::sqrt(v[i] / (1 - std::pow(b2, t))) + eps);
            });
        }
        on_every_device([&](Device &device) {
            Buffer<float> p(device, start), g(device, s.floats());
            Buffer<float> first(device, std::vector<float>(s.floats(), 0.0f)), second(device, std::vector<float>(s.floats(), 0.0f));
            ml_adamw_desc d{};
            d.parameter = p, d.grad = g, d.m = first, d.v = second, d.count = s.count, d.stride = s.stride, d.slots = s.slots;
            d.lr = 0.01f, d.beta1 = 0.9f, d.beta2 = 0.999f, d.eps = 1e-8f, d.weight_decay = 0.1f;
            for (int t = 1; t <= 5; t++) {
                g.write(grads[t - 1]);
                d.step = t;
                EXPECT_OK(ml_adamw_step(device, &d));
            }
            EXPECT_CLOSE("parameter", p.read(), parameter, 2e-7);
            EXPECT_CLOSE("m", first.read(), m, 3e-7);
            EXPECT_CLOSE("v", second.read(), v, 3e-7);
            expect_gaps_kept(s, start, p.read());
        });
    }
}

// A slot whose norm is not finite stays as it is, with its moments; the others take their step.
TEST(adamw_leaves_slots_alone_whose_norm_is_not_finite) {
    for (int64_t count : {64, 67}) {  // in packs and one by one
        const int64_t slots = 4;
        Random random(13);
        const auto start = random.normal(slots * count), grad = random.normal(slots * count);
        on_every_device([&](Device &device) {
            std::vector<std::vector<float>> results;
            for (bool guarded : {false, true}) {
                Buffer<float> p(device, start), g(device, grad), m(device, start), v(device, std::vector<float>(start.size(), 1.0f));
                Buffer<float> norm(device, {1.0f, INFINITY, 2.0f, NAN});
                ml_adamw_desc d{};
                d.parameter = p, d.grad = g, d.m = m, d.v = v, d.count = d.stride = count, d.slots = slots, d.step = 2;
                d.lr = 0.1f, d.beta1 = 0.9f, d.beta2 = 0.95f, d.eps = 1e-6f;
                if (guarded) d.norm = norm;
                EXPECT_OK(ml_adamw_step(device, &d));
                for (const auto &values : {p.read(), m.read(), v.read()}) results.push_back(values);
            }
            const std::vector<std::vector<float>> before{start, start, std::vector<float>(start.size(), 1.0f)};
            for (size_t i = 0; i < before.size(); i++) {
                for (int64_t slot = 0; slot < slots; slot++) {
                    auto of_slot = [&](const std::vector<float> &x) { return std::vector<float>(x.begin() + slot * count, x.begin() + (slot + 1) * count); };
                    Case name(format("array %d, slot %d", int(i), int(slot)));
                    EXPECT_SAME_BITS("after the step", of_slot(results[3 + i]), of_slot(slot % 2 == 0 ? results[i] : before[i]));
                    EXPECT(of_slot(results[i]) != of_slot(before[i]));
                }
            }
        });
    }
}

// Likewise a slot whose step would not be finite, wherever in it; its norm tells.
TEST(adamw_leaves_slots_alone_whose_step_is_not_finite) {
    struct Spoil {
        const char *what;
        float gradient, m, v, parameter, lr, eps;
    };
    const std::vector<Spoil> spoils = {
        {"parameter overflows", -4, -4, 1, 3.4e38f, 1e37f, 1e-6f}, {"v overflows", 1e20f, 0, 0, 1, 0.1f, 1e-6f},
        {"0 / 0", 0, 0, 0, 1, 0.1f, 0},                          {"parameter", 1, 1, 1, NAN, 0.1f, 1e-6f},
        {"m", 1, INFINITY, 1, 1, 0.1f, 1e-6f},                   {"v", 1, 1, NAN, 1, 0.1f, 1e-6f},
    };
    const int64_t slots = 3;
    for (int64_t count : {64, 67, 70003}) {
        Random random(14);
        const auto grad = random.normal(slots * count);
        for (auto &spoil : spoils) {
            for (int64_t at : {int64_t(0), count / 2, count - 1}) {
                Case shape(format("%s, count %d, at %d", spoil.what, int(count), int(at)));
                std::vector<float> parameters(grad.size(), 0.0f), gradients = grad, ms = grad, vs(grad.size(), 1.0f);
                gradients[count + at] = spoil.gradient, ms[count + at] = spoil.m, vs[count + at] = spoil.v, parameters[count + at] = spoil.parameter;
                on_every_device([&](Device &device) {
                    std::vector<std::vector<float>> results;
                    for (bool guarded : {false, true}) {
                        Buffer<float> p(device, parameters), g(device, gradients), m(device, ms), v(device, vs), norm(device, {1.0f, 2.0f, 3.0f});
                        ml_adamw_desc d{};
                        d.parameter = p, d.grad = g, d.m = m, d.v = v, d.count = d.stride = count, d.slots = slots, d.step = 2;
                        d.lr = spoil.lr, d.beta1 = 0.9f, d.beta2 = 0.95f, d.eps = spoil.eps;
                        if (guarded) d.norm = norm;
                        EXPECT_OK(ml_adamw_step(device, &d));
                        for (const auto &values : {p.read(), m.read(), v.read()}) results.push_back(values);
                        const auto norms = norm.read();
                        if (guarded) EXPECT(norms[0] == 1 && std::isnan(norms[1]) && norms[2] == 3);
                    }
                    const std::vector<std::vector<float>> before{parameters, ms, vs};
                    for (size_t i = 0; i < before.size(); i++) {
                        for (int64_t slot = 0; slot < slots; slot++) {
                            auto of_slot = [&](const std::vector<float> &x) { return std::vector<float>(x.begin() + slot * count, x.begin() + (slot + 1) * count); };
                            EXPECT_SAME_BITS("after the step", of_slot(results[3 + i]), of_slot(slot == 1 ? before[i] : results[i]));
                        }
                    }
                });
            }
        }
    }
}

TEST(vectors_do_not_depend_on_threads) {
    Random random(12);
    const auto grad = random.normal(300001), parameter = random.normal(300001);
    std::vector<std::vector<float>> first;
    std::string isa;
    on_every_device([&](Device &device) {
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(device, &info));
        Buffer<float> p(device, parameter), g(device, grad), norm(device, 1);
        Buffer<float> m(device, std::vector<float>(grad.size(), 0.0f)), v(device, std::vector<float>(grad.size(), 0.0f));
        ml_clip_desc clip{};
        clip.grad = g, clip.norm = norm, clip.count = clip.stride = 300001, clip.slots = 1, clip.max_norm = 3;
        EXPECT_OK(ml_clip_global_norm(device, &clip));
        ml_adamw_desc d{};
        d.parameter = p, d.grad = g, d.m = m, d.v = v, d.count = d.stride = 300001, d.slots = 1, d.step = 1;
        d.lr = 0.1f, d.beta1 = 0.9f, d.beta2 = 0.95f, d.eps = 1e-6f;
        EXPECT_OK(ml_adamw_step(device, &d));
        const std::vector<std::vector<float>> now{norm.read(), g.read(), p.read(), m.read(), v.read()};
        if (isa == info.isa) {
            for (size_t i = 0; i < now.size(); i++) EXPECT_SAME_BITS("one thread and several", first[i], now[i]);
        }
        isa = info.isa, first = now;
    });
}

TEST(vectors_reject_bad_arguments) {
    Device device(setups().front());
    Buffer<float> a(device, 30), b(device, 30), c(device, 30), e(device, 30), norm(device, 3);
    for (auto *buffer : {&a, &b, &c, &e}) buffer->write(std::vector<float>(30, 1.0f));
    EXPECT_INVALID(ml_fill(device, a, -1, 0), "count");
    EXPECT_INVALID(ml_fill(device, a, 30 + 33, 0), "values");
    EXPECT_INVALID(ml_fill(device, nullptr, 3, 0), "values");
    EXPECT_INVALID(ml_fill(nullptr, a, 3, 0), "context");
    EXPECT_INVALID(ml_broadcast(device, a, b, -1, 10, 3), "count");
    EXPECT_INVALID(ml_broadcast(device, a, b, 10, 9, 3), "stride");
    EXPECT_INVALID(ml_broadcast(device, a, b, 10, 10, -1), "slots");
    EXPECT_INVALID(ml_broadcast(device, a, b, 10, INT64_MAX / 4, 30), "to");
    EXPECT_INVALID(ml_broadcast(device, a, nullptr, 10, 10, 3), "from");

    ml_clip_desc clip{};
    clip.grad = a, clip.norm = norm, clip.count = clip.stride = 10, clip.slots = 3, clip.max_norm = 1;
    EXPECT_OK(ml_clip_global_norm(device, &clip));
    const std::vector<std::pair<const char *, void (*)(ml_clip_desc &)>> clips = {
        {"count", [](ml_clip_desc &d) { d.count = -1; }},       {"slots", [](ml_clip_desc &d) { d.slots = -1; }},
        {"stride", [](ml_clip_desc &d) { d.stride = 4; }},      {"grad", [](ml_clip_desc &d) { d.grad = nullptr; }},
        {"norm", [](ml_clip_desc &d) { d.norm = nullptr; }},    {"max_norm", [](ml_clip_desc &d) { d.max_norm = -1; }},
        {"max_norm", [](ml_clip_desc &d) { d.max_norm = NAN; }}, {"grad", [](ml_clip_desc &d) { d.slots = 300; }},
    };
    for (auto &[field, spoil] : clips) {
        Case name(field);
        auto bad = clip;
        spoil(bad);
        EXPECT_INVALID(ml_clip_global_norm(device, &bad), field);
    }
    EXPECT_INVALID(ml_clip_global_norm(device, nullptr), "desc");

    ml_sgd_desc sgd{};
    sgd.parameter = a, sgd.grad = b, sgd.count = sgd.stride = 10, sgd.slots = 3, sgd.lr = 0.1f;
    EXPECT_OK(ml_sgd_step(device, &sgd));
    const std::vector<std::pair<const char *, void (*)(ml_sgd_desc &)>> sgds = {
        {"count", [](ml_sgd_desc &d) { d.count = -1; }},     {"parameter", [](ml_sgd_desc &d) { d.parameter = nullptr; }},
        {"grad", [](ml_sgd_desc &d) { d.grad = nullptr; }},  {"lr", [](ml_sgd_desc &d) { d.lr = NAN; }},
        {"stride", [](ml_sgd_desc &d) { d.stride = -10; }},  {"weight_decay", [](ml_sgd_desc &d) { d.weight_decay = INFINITY; }},
    };
    for (auto &[field, spoil] : sgds) {
        Case name(field);
        auto bad = sgd;
        spoil(bad);
        EXPECT_INVALID(ml_sgd_step(device, &bad), field);
    }
    EXPECT_INVALID(ml_sgd_step(device, nullptr), "desc");

    ml_adamw_desc adamw{};
    adamw.parameter = a, adamw.grad = b, adamw.m = c, adamw.v = e, adamw.count = adamw.stride = 10, adamw.slots = 3;
    adamw.step = 1, adamw.lr = 0.1f, adamw.beta1 = 0.9f, adamw.beta2 = 0.99f, adamw.eps = 1e-8f;
    EXPECT_OK(ml_adamw_step(device, &adamw));
    const std::vector<std::pair<const char *, void (*)(ml_adamw_desc &)>> adamws = {
        {"count", [](ml_adamw_desc &d) { d.count = -1; }},   {"parameter", [](ml_adamw_desc &d) { d.parameter = nullptr; }},
        {"grad", [](ml_adamw_desc &d) { d.grad = nullptr; }}, {"m", [](ml_adamw_desc &d) { d.m = nullptr; }},
        {"v", [](ml_adamw_desc &d) { d.v = nullptr; }},      {"norm", [](ml_adamw_desc &d) { d.norm = &d.lr; }},
        {"step", [](ml_adamw_desc &d) { d.step = 0; }},
        {"lr", [](ml_adamw_desc &d) { d.lr = NAN; }},        {"beta1", [](ml_adamw_desc &d) { d.beta1 = 1; }},
        {"beta2", [](ml_adamw_desc &d) { d.beta2 = -0.1f; }}, {"eps", [](ml_adamw_desc &d) { d.eps = -1; }},
        {"beta2", [](ml_adamw_desc &d) { d.beta2 = NAN; }},  {"slots", [](ml_adamw_desc &d) { d.slots = INT64_MAX; }},
    };
    for (auto &[field, spoil] : adamws) {
        Case name(field);
        auto bad = adamw;
        spoil(bad);
        EXPECT_INVALID(ml_adamw_step(device, &bad), field);
    }
    EXPECT_INVALID(ml_adamw_step(device, nullptr), "desc");
}
