// Ops without a test of their own for it: the same bits every time, for a given instruction set and number of threads.
#include "harness.h"

using namespace test;

namespace {

constexpr int64_t kRows = 67, kWidth = 193, kCount = kRows * kWidth;

// What `op` writes into `out`, three times, from the same start.
template <class Memory, class Op>
void repeats(Device &device, const char *what, const std::vector<float> &start, const Op &op) {
    std::vector<float> first;
    for (int again = 0; again < 3; again++) {
        Memory out(device, start);
        op(out);
        if (again == 0) first = out.read();
        EXPECT_SAME_BITS(what, out.read(), first);
    }
}

}  // namespace

TEST(row_ops_repeat_bit_for_bit) {
    Random random(1);
    const auto x = random.normal(kCount), y = random.normal(kCount), weight = random.normal(kWidth);
    on_every_device([&](Device &device) {
        Activations in(device, x), other(device, y), unused(device, kCount);
        Buffer<float> w(device, weight), rstd(device, kRows);
        ml_rmsnorm_desc norm{};
        norm.x = in, norm.weight = w, norm.rstd = rstd, norm.dy = other, norm.rows = kRows, norm.width = kWidth, norm.eps = 1e-5f;
        repeats<Activations>(device, "rmsnorm", x, [&](void *out) { norm.y = out, EXPECT_OK(ml_rmsnorm_forward(device, &norm)); });
        repeats<Activations>(device, "rmsnorm dx", x, [&](void *out) { norm.dx = out, EXPECT_OK(ml_rmsnorm_backward(device, &norm)); });

        ml_swiglu_desc gated{};
        gated.gate = in, gated.up = other, gated.dy = other, gated.rows = kRows, gated.width = kWidth;
        repeats<Activations>(device, "swiglu", x, [&](void *out) { gated.y = out, EXPECT_OK(ml_swiglu_forward(device, &gated)); });
        repeats<Activations>(device, "swiglu dgate", x, [&](void *out) {
            gated.dgate = out, gated.dup = unused, EXPECT_OK(ml_swiglu_backward(device, &gated));
        });
    });
}

TEST(rope_repeats_bit_for_bit) {
    constexpr int64_t tokens = 31, heads = 3, head_dim = 20, positions = 64;
    Random random(2);
    const auto x = random.normal(tokens * heads * head_dim);
    std::vector<int32_t> at(tokens);
    for (auto &p : at) p = static_cast<int32_t>(random.below(positions));
    on_every_device([&](Device &device) {
        Buffer<float> cos(device, positions * head_dim / 2), sin(device, positions * head_dim / 2);
        Buffer<int32_t> position(device, at);
        ml_rope_table_desc table{};
        table.cos = cos, table.sin = sin, table.positions = positions, table.head_dim = head_dim, table.theta = 10000;
        table.scaling = ML_ROPE_PLAIN;
        EXPECT_OK(ml_rope_table(device, &table));
        ml_rope_desc rope{};
        rope.cos = cos, rope.sin = sin, rope.position = position, rope.tokens = tokens, rope.positions = positions;
        rope.heads = heads, rope.head_dim = head_dim;
        repeats<Activations>(device, "rope", x, [&](void *out) { rope.x = out, EXPECT_OK(ml_rope_forward(device, &rope)); });
        repeats<Activations>(device, "rope backward", x, [&](void *out) { rope.x = out, EXPECT_OK(ml_rope_backward(device, &rope)); });
    });
}

TEST(optimizers_repeat_bit_for_bit) {
    Random random(3);
    const auto parameter = random.normal(kCount), gradient = random.normal(kCount);
    on_every_device([&](Device &device) {
        Buffer<float> grad(device, gradient), norm(device, 1);
        ml_sgd_desc sgd{};
        sgd.grad = grad, sgd.count = kCount, sgd.stride = kCount, sgd.slots = 1, sgd.lr = 0.1f, sgd.weight_decay = 0.01f;
        repeats<Buffer<float>>(device, "sgd", parameter, [&](float *out) { sgd.parameter = out, EXPECT_OK(ml_sgd_step(device, &sgd)); });

        ml_adamw_desc adamw{};
        adamw.grad = grad, adamw.count = kCount, adamw.stride = kCount, adamw.slots = 1, adamw.step = 3;
        adamw.lr = 0.1f, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f, adamw.eps = 1e-8f, adamw.weight_decay = 0.01f;
        repeats<Buffer<float>>(device, "adamw", parameter, [&](float *out) {
            Buffer<float> m(device, std::vector<float>(kCount, 0.5f)), v(device, std::vector<float>(kCount, 0.25f));
            adamw.parameter = out, adamw.m = m, adamw.v = v;
            EXPECT_OK(ml_adamw_step(device, &adamw));
        });

        ml_clip_desc clip{};
        clip.norm = norm, clip.count = kCount, clip.stride = kCount, clip.slots = 1, clip.max_norm = 1;
        repeats<Buffer<float>>(device, "clip", parameter, [&](float *out) { clip.grad = out, EXPECT_OK(ml_clip_global_norm(device, &clip)); });
    });
}
