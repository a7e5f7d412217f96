// SwiGLU, forward and backward.
#include "harness.h"
#include "reference.h"

using namespace test;

TEST(swiglu_matches_reference) {
    for (int64_t count : {1, 3, 8, 17, 100, 1536, 50001}) {
        Case shape(format("count %d", int(count)));
        Random random(static_cast<uint64_t>(count));
        auto gate = random.normal(count, 3);
        const auto up = random.normal(count), dy = random.normal(count);
        if (count >= 100) gate[0] = 90, gate[1] = -90, gate[2] = 1000, gate[3] = -1000, gate[4] = 0;
        const auto y = reference::swiglu(wide(gate), wide(up));
        const auto g = reference::swiglu_gradient(wide(gate), wide(up), wide(dy));
        on_every_device([&](Device &device) {
            Activations gates(device, gate), ups(device, up), out(device, count), grad(device, dy);
            Activations dgate(device, count), dup(device, count);
            ml_swiglu_desc d{};
            d.gate = gates, d.up = ups, d.y = out, d.dy = grad, d.dgate = dgate, d.dup = dup, d.rows = 1, d.width = count;
            EXPECT_OK(ml_swiglu_forward(device, &d));
            EXPECT_CLOSE("y", out.read(), y, 5e-7);
            EXPECT_OK(ml_swiglu_backward(device, &d));
            EXPECT_CLOSE("dgate", dgate.read(), g.dgate, 1e-6);
            EXPECT_CLOSE("dup", dup.read(), g.dup, 5e-7);
            const auto dgate_bits = dgate.read(), dup_bits = dup.read();
            // In place, in each way the header allows.
            d.dgate = gates, d.dup = ups;
            EXPECT_OK(ml_swiglu_backward(device, &d));
            EXPECT_SAME_BITS("dgate in gate's place", gates.read(), dgate_bits);
            EXPECT_SAME_BITS("dup in up's place", ups.read(), dup_bits);
            gates.write(gate), ups.write(up);
            d.dgate = ups, d.dup = gates;
            EXPECT_OK(ml_swiglu_backward(device, &d));
            EXPECT_SAME_BITS("dgate in up's place", ups.read(), dgate_bits);
            EXPECT_SAME_BITS("dup in gate's place", gates.read(), dup_bits);
            gates.write(gate), ups.write(up);
            d.dgate = grad, d.dup = dup;
            EXPECT_OK(ml_swiglu_backward(device, &d));
            EXPECT_SAME_BITS("dgate in dy's place", grad.read(), dgate_bits);
        });
    }
}

// gate and up as a Linear of both leaves them, side by side, and room behind y's rows.
TEST(swiglu_of_strided_rows_matches_reference) {
    struct Size { int64_t rows, width, between; };
    for (const Size &s : {Size{3, 40, 8}, {5, 33, 3}, {17, 104, 16}}) {
        Case shape(format("rows %d, width %d, between %d", int(s.rows), int(s.width), int(s.between)));
        Random random(static_cast<uint64_t>(s.width));
        const auto gate = random.normal(s.rows * s.width, 3), up = random.normal(s.rows * s.width), dy = random.normal(s.rows * s.width);
        const auto y = reference::swiglu(wide(gate), wide(up));
        const auto g = reference::swiglu_gradient(wide(gate), wide(up), wide(dy));
        std::vector<float> both;
        std::vector<double> gradients;
        for (int64_t row = 0; row < s.rows; row++) {
            const int64_t at = row * s.width;
            for (const auto &x : {gate, up}) both.insert(both.end(), x.begin() + at, x.begin() + at + s.width);
            for (const auto &x : {g.dgate, g.dup}) gradients.insert(gradients.end(), x.begin() + at, x.begin() + at + s.width);
        }
        on_every_device([&](Device &device) {
            Strided x(device, 2 * s.width, s.between, both), out(device, s.rows, s.width, s.between);
            Activations grad(device, dy);
            out.write(std::vector<float>(gate.size(), NAN));
            ml_swiglu_desc d{};
            d.gate = x, d.up = x.at(s.width), d.y = out, d.dy = grad, d.dgate = x, d.dup = x.at(s.width), d.rows = s.rows, d.width = s.width;
            d.gate_stride = x.stride(), d.y_stride = out.stride();
            EXPECT_OK(ml_swiglu_forward(device, &d));
            EXPECT_CLOSE("y", out.read(), y, 5e-7);
            EXPECT_OK(ml_swiglu_backward(device, &d));
            EXPECT_CLOSE("dgate, dup", x.read(), gradients, 1e-6);
        });
    }
}

TEST(swiglu_gradient_matches_finite_differences) {
    Random random(5);
    const auto gate = random.normal(13, 2), up = random.normal(13), dy = random.normal(13);
    const auto dgate_expected = numeric_gradient(wide(gate), [&](auto &x) { return dot(wide(dy), reference::swiglu(x, wide(up))); });
    const auto dup_expected = numeric_gradient(wide(up), [&](auto &x) { return dot(wide(dy), reference::swiglu(wide(gate), x)); });
    on_every_device([&](Device &device) {
        Activations gates(device, gate), ups(device, up), grad(device, dy), dgate(device, 13), dup(device, 13);
        ml_swiglu_desc d{};
        d.gate = gates, d.up = ups, d.dy = grad, d.dgate = dgate, d.dup = dup, d.rows = 1, d.width = 13;
        EXPECT_OK(ml_swiglu_backward(device, &d));
        EXPECT_CLOSE("dgate", dgate.read(), dgate_expected, 1e-6);
        EXPECT_CLOSE("dup", dup.read(), dup_expected, 1e-6);
    });
}

TEST(swiglu_rejects_bad_arguments) {
    Device device(setups().front());
    Activations gate(device, 8), up(device, 8), y(device, 8), dy(device, 8), dgate(device, 8), dup(device, 8), dgate_wide(device, 16);
    ml_swiglu_desc good{};
    good.gate = gate, good.up = up, good.y = y, good.dy = dy, good.dgate = dgate, good.dup = dup, good.rows = 2, good.width = 4;
    EXPECT_OK(ml_swiglu_forward(device, &good));
    EXPECT_OK(ml_swiglu_backward(device, &good));
    EXPECT_INVALID(ml_swiglu_forward(device, nullptr), "desc");
    ml_swiglu_desc bad = good;
    bad.rows = -1;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "rows");
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "rows");
    bad = good, bad.width = -1;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "width");
    bad = good, bad.width = INT64_MAX / 2;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "gate");
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "gate");
    bad = good, bad.gate_stride = 3;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "gate_stride");
    bad = good, bad.gate_stride = 100;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "gate");
    bad = good, bad.y_stride = 100;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "y");
    bad = good, bad.gate_stride = 5, bad.gate = bad.up = bad.dgate = dgate_wide, bad.dup = dy;
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "dup");
    bad = good, bad.gate = nullptr;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "gate");
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "gate");
    bad = good, bad.up = nullptr;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "up");
    bad = good, bad.y = nullptr;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "y");
    bad = good, bad.dy = nullptr;
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "dy");
    bad = good, bad.dgate = nullptr;
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "dgate");
    bad = good, bad.dup = dgate;
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "dup");
    bad = good, bad.rows = 0;
    EXPECT_OK(ml_swiglu_forward(device, &bad));
}
