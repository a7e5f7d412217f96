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
            d.gate = gates, d.up = ups, d.y = out, d.dy = grad, d.dgate = dgate, d.dup = dup, d.count = count;
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

TEST(swiglu_gradient_matches_finite_differences) {
    Random random(5);
    const auto gate = random.normal(13, 2), up = random.normal(13), dy = random.normal(13);
    const auto dgate_expected = numeric_gradient(wide(gate), [&](auto &x) { return dot(wide(dy), reference::swiglu(x, wide(up))); });
    const auto dup_expected = numeric_gradient(wide(up), [&](auto &x) { return dot(wide(dy), reference::swiglu(wide(gate), x)); });
    on_every_device([&](Device &device) {
        Activations gates(device, gate), ups(device, up), grad(device, dy), dgate(device, 13), dup(device, 13);
        ml_swiglu_desc d{};
        d.gate = gates, d.up = ups, d.dy = grad, d.dgate = dgate, d.dup = dup, d.count = 13;
        EXPECT_OK(ml_swiglu_backward(device, &d));
        EXPECT_CLOSE("dgate", dgate.read(), dgate_expected, 1e-6);
        EXPECT_CLOSE("dup", dup.read(), dup_expected, 1e-6);
    });
}

TEST(swiglu_rejects_bad_arguments) {
    Device device(setups().front());
    Activations gate(device, 8), up(device, 8), y(device, 8), dy(device, 8), dgate(device, 8), dup(device, 8);
    ml_swiglu_desc good{};
    good.gate = gate, good.up = up, good.y = y, good.dy = dy, good.dgate = dgate, good.dup = dup, good.count = 8;
    EXPECT_OK(ml_swiglu_forward(device, &good));
    EXPECT_OK(ml_swiglu_backward(device, &good));
    EXPECT_INVALID(ml_swiglu_forward(device, nullptr), "desc");
    ml_swiglu_desc bad = good;
    bad.count = -1;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "count");
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "count");
    bad.count = INT64_MAX / 2;
    EXPECT_INVALID(ml_swiglu_forward(device, &bad), "gate");
    EXPECT_INVALID(ml_swiglu_backward(device, &bad), "gate");
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
    bad = good, bad.count = 0;
    EXPECT_OK(ml_swiglu_forward(device, &bad));
}
