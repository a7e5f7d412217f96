// Rotary embedding: the tables and the rotation.
#include "harness.h"
#include "reference.h"

using namespace test;

namespace {

struct Tables {
    std::vector<float> cos, sin;
};

Tables tables(Device &device, ml_rope_table_desc d) {
    Buffer<float> cos(device, d.positions * d.head_dim / 2), sin(device, d.positions * d.head_dim / 2);
    d.cos = cos, d.sin = sin;
    EXPECT_OK(ml_rope_table(device, &d));
    return {cos.read(), sin.read()};
}

ml_rope_table_desc plain(int64_t positions, int64_t head_dim, double theta) {
    ml_rope_table_desc d{};
    d.positions = positions, d.head_dim = head_dim, d.theta = theta;
    return d;
}

// Every entry is the correctly rounded one, or next to it.
void expect_table(const Tables &table, const reference::Vec &frequencies) {
    const size_t half = frequencies.size();
    double worst = 0;
    for (size_t i = 0; i < table.cos.size(); i++) {
        const double angle = static_cast<double>(i / half) * frequencies[i % half];
        worst = std::max(worst, std::fabs(table.cos[i] - std::cos(angle)));
        worst = std::max(worst, std::fabs(table.sin[i] - std::sin(angle)));
    }
    if (!(worst < 1e-7)) fail(__FILE__, __LINE__, format("table off by %.3g", worst));
}

}  // namespace

TEST(rope_table_matches_reference) {
    on_every_device([&](Device &device) {
        for (int64_t head_dim : {2, 64, 80, 128}) {
            Case shape(format("head_dim %d", int(head_dim)));
            auto d = plain(3000, head_dim, 1e4);
            expect_table(tables(device, d), reference::rope_plain_frequencies(head_dim, 1e4));
            d.scaling = ML_ROPE_LINEAR, d.factor = 4;
            expect_table(tables(device, d), reference::rope_linear_frequencies(head_dim, 1e4, 4));
            d.scaling = ML_ROPE_LLAMA3, d.theta = 5e5, d.factor = 8;
            d.low_freq_factor = 1, d.high_freq_factor = 4, d.original_max_positions = 8192;
            expect_table(tables(device, d), reference::rope_llama3_frequencies(head_dim, 5e5, 8, 1, 4, 8192));
        }
        EXPECT(tables(device, plain(0, 64, 1e4)).cos.empty());
    });
}

// The values of transformers' Llama 3.1 rope (head_dim 128, theta 5e5, factor 8, 1, 4, 8192) at three pairs: kept,
// interpolated, slowed down by the factor.
TEST(rope_llama3_known_frequencies) {
    Device device(setups().back());
    auto d = plain(2, 128, 5e5);
    d.scaling = ML_ROPE_LLAMA3, d.factor = 8, d.low_freq_factor = 1, d.high_freq_factor = 4, d.original_max_positions = 8192;
    const Tables t = tables(device, d);
    const auto frequency = [&](int pair) { return std::asin(static_cast<double>(t.sin[64 + pair])); };
    const auto unscaled = [](int pair) { return std::pow(5e5, -pair / 64.0); };
    EXPECT(std::fabs(frequency(10) / unscaled(10) - 1) < 1e-6);
    EXPECT(std::fabs(frequency(50) / unscaled(50) - 0.125) < 1e-6);
    EXPECT(frequency(32) / unscaled(32) > 0.2 && frequency(32) / unscaled(32) < 0.9);
}

TEST(rope_matches_reference) {
    struct Shape { int64_t tokens, heads, head_dim; };
    for (const Shape &s : {Shape{1, 1, 2}, {1, 9, 64}, {37, 3, 80}, {260, 5, 128}, {6, 2, 20}, {5, 1, 6}}) {
        Case shape(format("tokens %d, heads %d, head_dim %d", int(s.tokens), int(s.heads), int(s.head_dim)));
        Random random(static_cast<uint64_t>(s.tokens));
        const auto x = random.normal(s.tokens * s.heads * s.head_dim);
        std::vector<int32_t> position(s.tokens);
        for (auto &p : position) p = static_cast<int32_t>(random.below(500));
        position.back() = 499;
        const auto frequencies = reference::rope_plain_frequencies(s.head_dim, 1e4);
        const auto forward = reference::rope(wide(x), frequencies, position, s.heads, s.head_dim, false);
        const auto backward = reference::rope(wide(x), frequencies, position, s.heads, s.head_dim, true);
        on_every_device([&](Device &device) {
            const Tables table = tables(device, plain(500, s.head_dim, 1e4));
            Activations values(device, x);
            Buffer<float> cos(device, table.cos), sin(device, table.sin);
            Buffer<int32_t> positions(device, position);
            ml_rope_desc d{};
            d.x = values, d.cos = cos, d.sin = sin, d.position = positions;
            d.tokens = s.tokens, d.positions = 500, d.heads = s.heads, d.head_dim = s.head_dim;
            EXPECT_OK(ml_rope_forward(device, &d));
            EXPECT_CLOSE("forward", values.read(), forward, 2e-7);
            EXPECT_OK(ml_rope_backward(device, &d));
            EXPECT_CLOSE("there and back", values.read(), wide(x), 3e-7);
            values.write(x);
            EXPECT_OK(ml_rope_backward(device, &d));
            EXPECT_CLOSE("backward", values.read(), backward, 2e-7);
            for (int64_t between : {3, 8}) {
                Strided rows(device, s.heads * s.head_dim, between, x);
                d.x = rows, d.stride = rows.stride();
                EXPECT_OK(ml_rope_forward(device, &d));
                EXPECT_CLOSE("strided", rows.read(), forward, 2e-7);
            }
        });
    }
}

TEST(rope_gradient_matches_finite_differences) {
    Random random(3);
    const auto x = random.normal(2 * 2 * 6), dy = random.normal(x.size());
    const std::vector<int32_t> position{7, 2};
    const auto frequencies = reference::rope_plain_frequencies(6, 100);
    const auto expected = numeric_gradient(wide(x), [&](auto &at) {
        return dot(wide(dy), reference::rope(at, frequencies, position, 2, 6, false));
    });
    on_every_device([&](Device &device) {
        const Tables table = tables(device, plain(8, 6, 100));
        Activations gradient(device, dy);
        Buffer<float> cos(device, table.cos), sin(device, table.sin);
        Buffer<int32_t> positions(device, position);
        ml_rope_desc d{};
        d.x = gradient, d.cos = cos, d.sin = sin, d.position = positions, d.tokens = 2, d.positions = 8, d.heads = 2, d.head_dim = 6;
        EXPECT_OK(ml_rope_backward(device, &d));
        EXPECT_CLOSE("dx", gradient.read(), expected, 1e-6);
    });
}

TEST(rope_rejects_bad_arguments) {
    Device device(setups().front());
    Activations x(device, 3 * 2 * 8);
    Buffer<float> cos(device, 10 * 4), sin(device, 10 * 4);
    Buffer<int32_t> position(device, {0, 9, 4}), outside(device, {0, 10, 4}), negative(device, {-1, 0, 4});
    ml_rope_table_desc table = plain(10, 8, 1e4);
    table.cos = cos, table.sin = sin;
    EXPECT_OK(ml_rope_table(device, &table));
    EXPECT_INVALID(ml_rope_table(device, nullptr), "desc");
    using Table = ml_rope_table_desc;
    const std::vector<std::pair<const char *, void (*)(Table &)>> bad_tables = {
        {"positions", [](Table &d) { d.positions = -1; }},
        {"cos", [](Table &d) { d.positions = 1000; }},
        {"head_dim", [](Table &d) { d.head_dim = 7; }},
        {"head_dim", [](Table &d) { d.head_dim = 0; }},
        {"theta", [](Table &d) { d.theta = 0; }},
        {"theta", [](Table &d) { d.theta = NAN; }},
        {"scaling", [](Table &d) { d.scaling = 3; }},
        {"factor", [](Table &d) { d.scaling = ML_ROPE_LINEAR; }},
        {"low_freq_factor", [](Table &d) { d.scaling = ML_ROPE_LLAMA3, d.factor = 8; }},
        {"high_freq_factor", [](Table &d) { d.scaling = ML_ROPE_LLAMA3, d.factor = 8, d.low_freq_factor = 2; }},
        {"original_max_positions", [](Table &d) {
             d.scaling = ML_ROPE_LLAMA3, d.factor = 8, d.low_freq_factor = 1, d.high_freq_factor = 4;
         }},
        {"cos", [](Table &d) { d.cos = nullptr; }},
        {"sin", [](Table &d) { d.sin = nullptr; }},
    };
    for (auto &[field, spoil] : bad_tables) {
        Case name(field);
        Table bad = table;
        spoil(bad);
        EXPECT_INVALID(ml_rope_table(device, &bad), field);
    }
    ml_rope_desc good{};
    good.x = x, good.cos = cos, good.sin = sin, good.position = position;
    good.tokens = 3, good.positions = 10, good.heads = 2, good.head_dim = 8;
    EXPECT_OK(ml_rope_forward(device, &good));
    using Desc = ml_rope_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> spoils = {
        {"tokens", [](Desc &d) { d.tokens = -1; }},      {"heads", [](Desc &d) { d.heads = 0; }},
        {"head_dim", [](Desc &d) { d.head_dim = 5; }},   {"positions", [](Desc &d) { d.positions = -3; }},
        {"position", [&](Desc &d) { d.position = outside; }}, {"position", [&](Desc &d) { d.position = negative; }},
        {"position", [](Desc &d) { d.position = nullptr; }},  {"x", [](Desc &d) { d.x = nullptr; }},
        {"cos", [](Desc &d) { d.cos = nullptr; }},       {"sin", [](Desc &d) { d.sin = nullptr; }},
        {"x", [](Desc &d) { d.tokens = 300; }},
    };
    for (auto &[field, spoil] : spoils) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_rope_forward(device, &bad), field);
        EXPECT_INVALID(ml_rope_backward(device, &bad), field);
    }
}
