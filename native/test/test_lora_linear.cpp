// LoRA linear: slots, ranks, storage types, optional parts, dropout; forward and backward.
#include "dropout_mask.h"
#include "reference.h"
#include "weights.h"

using namespace test;

namespace {

struct Rows {
    int64_t first, rows;
};

struct Shape {
    int64_t in, out, rank;
    std::vector<int32_t> slot_offsets;
    int32_t storage;
    bool bias, residual;
    std::vector<Rows> terms = {};  // of several Linears in one; empty: one term over all rows
    int64_t between = 0;           // columns between the rows of x and of y
    int64_t spare = 0;             // of these, for the op to write to
    int64_t tokens() const { return slot_offsets.back(); }
    int64_t slots() const { return static_cast<int64_t>(slot_offsets.size()) - 1; }
    std::vector<Rows> all_terms() const { return terms.empty() ? std::vector<Rows>{{0, out}} : terms; }
    int64_t ranks() const { return rank * static_cast<int64_t>(all_terms().size()); }
    // Adapter parameters of a slot: each term's a, then its b, then some that belong to others.
    int64_t a_of(size_t term) const {
        int64_t at = 0;
        for (size_t i = 0; i < term; i++) at += rank * (in + all_terms()[i].rows);
        return at;
    }
    int64_t b_of(size_t term) const { return a_of(term) + rank * in; }
    int64_t stride() const { return a_of(all_terms().size()) + 5; }
    size_t parameters() const { return static_cast<size_t>(slots() * stride()); }
    std::string text() const {
        std::string s = format("in %d, out %d, rank %d, %s, slots", int(in), int(out), int(rank), storage == ML_F32 ? "f32" : "bf16");
        for (int32_t offset : slot_offsets) s += format(" %d", offset);
        for (const Rows &t : terms) s += format(", rows %d+%d", int(t.first), int(t.rows));
        if (between > 0) s += format(", %d between rows, %d spare", int(between), int(spare));
        return s + (bias ? ", bias" : "") + (residual ? ", residual" : "");
    }
};

const std::vector<Shape> &shapes() {
    static const std::vector<Shape> all = {
        {1, 1, 1, {0, 1}, ML_F32, false, false},
        // one and two tokens, as in generation
        {67, 35, 8, {0, 1}, ML_F32, true, true},
        {130, 100, 64, {0, 0, 1}, ML_BF16, true, false},
        {64, 100, 3, {0, 1, 2}, ML_F32, false, true},
        {192, 130, 64, {0, 0, 2}, ML_F32, true, true},
        {5, 7, 3, {0, 2, 3}, ML_F32, true, false},
        {64, 64, 8, {0, 0, 17, 17, 40}, ML_F32, false, true},    // empty slots
        {67, 35, 8, {0, 1, 30, 33}, ML_BF16, true, true},
        {576, 192, 1, {0, 64}, ML_F32, false, false},
        {96, 130, 64, {0, 13, 77}, ML_F32, false, false},
        {192, 576, 16, {0, 5, 6, 7, 8, 50, 51, 90, 101}, ML_BF16, false, true},
        {128, 48, 3, {0, 200}, ML_F32, true, true},
        {48, 100, 0, {0, 25}, ML_F32, true, true},                // frozen alone
        {130, 33, 0, {0, 1}, ML_BF16, false, false},
        {300, 17, 8, {0, 0}, ML_F32, false, false},               // no tokens
        {33, 257, 9, {0, 100, 260}, ML_F32, false, false},
        // tensor cores on CUDA: several tiles of everything, ranks of one, several and parts of a tile
        {200, 136, 16, {0, 70, 75, 203}, ML_BF16, true, true},
        {328, 264, 5, {0, 300}, ML_BF16, false, true},
        {64, 192, 100, {0, 33, 133}, ML_BF16, false, false},
        {24, 16, 8, {0, 9}, ML_BF16, true, false},
        {136, 144, 0, {0, 140}, ML_BF16, true, true},
        {16, 312, 24, {0, 70, 200, 264}, ML_BF16, false, false},
        {24, 264, 8, {0, 300, 600}, ML_BF16, false, false},       // more than one part of a slot's tokens
        {8, 136, 8, {0, 1030}, ML_BF16, false, true, {}, 8, 8},   // tiles of more than one group of rows
        // several Linears in one, rows apart
        {64, 96, 8, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 48, 48},
        {72, 112, 16, {0, 50}, ML_BF16, false, false, {{0, 64}, {64, 48}}, 40, 32},
        {40, 304, 5, {0, 70, 75, 131}, ML_BF16, false, true, {{0, 264}, {288, 16}}, 8, 0},  // a Linear in the middle without an adapter
        {48, 80, 40, {0, 66}, ML_BF16, false, false, {{16, 64}}, 80, 80},
        {35, 50, 3, {0, 9, 30}, ML_F32, true, true, {{0, 20}, {20, 17}, {40, 10}}, 5, 4},
        {130, 90, 9, {0, 2}, ML_BF16, false, false, {{1, 40}, {41, 49}}, 0, 0},
        {33, 64, 4, {0, 77}, ML_F32, false, true, {{8, 40}}, 3, 3},
    };
    return all;
}

struct Inputs {
    explicit Inputs(const Shape &s)
        : random(static_cast<uint64_t>(s.in * 31 + s.out * 7 + s.rank)),
          w(random, s.out, s.in, s.storage, 1 / std::sqrt(double(s.in))),
          lora{s.in, s.out, s.ranks(), 0.75, s.slot_offsets} {
        x = random.normal(s.tokens() * s.in);
        if (s.bias) bias = random.normal(s.out);
        if (s.residual) residual = random.normal(s.tokens() * s.out);
        parameters = random.normal(s.parameters(), 0.3);
        dy = random.normal(s.tokens() * s.out);
        gradients = random.normal(s.parameters());
        before = random.normal(s.tokens() * s.in);
        mask.assign(x.size(), 1);
        // Terms are one adapter, whose B is zero outside of each term's rows and ranks.
        const auto terms = s.all_terms();
        for (int64_t slot = 0; slot < s.slots(); slot++) {
            const auto start = parameters.begin() + slot * s.stride();
            std::vector<double> of_slot(s.out * s.ranks());
            for (size_t t = 0; t < terms.size(); t++) {
                a.insert(a.end(), start + s.a_of(t), start + s.a_of(t) + s.rank * s.in);
                for (int64_t i = 0; i < terms[t].rows * s.rank; i++) {
                    of_slot[(terms[t].first + i / s.rank) * s.ranks() + static_cast<int64_t>(t) * s.rank + i % s.rank] = start[s.b_of(t) + i];
                }
            }
            b.insert(b.end(), of_slot.begin(), of_slot.end());
        }
    }
    Random random;
    FrozenMatrix w;
    reference::Lora lora;
    std::vector<float> x, bias, residual, parameters, dy, gradients, before;
    std::vector<double> a, b, mask;
    float dropout = 0;
    uint64_t seed = 11, stream = 5;
};

// The op's buffers and descriptor.
struct Run {
    Run(Device &device, const Shape &s, const Inputs &in)
        : w(device, {in.w.source.data(), ML_F32, s.storage, s.out, s.in, s.spare}), x(device, s.in, s.between, in.x),
          residual(device, s.out, s.between, s.residual ? in.residual : std::vector<float>(s.tokens() * s.out)),
          y(device, s.tokens(), s.out, s.between), dy(device, s.out, s.between, in.dy), dx(device, s.tokens() * s.in), bias(device, in.bias),
          h(device, s.tokens() * s.ranks()), parameters(device, in.parameters), gradients(device, in.gradients), slot_offsets(device, s.slot_offsets) {
        y.write(std::vector<float>(s.tokens() * s.out, NAN));
        d.x = x, d.w = w, d.y = y;
        if (s.bias) d.bias = bias;
        if (s.residual) d.residual = residual;
        d.tokens = s.tokens(), d.rank = s.rank, d.scale = static_cast<float>(in.lora.scale);
        if (s.between > 0) d.x_stride = x.stride(), d.y_stride = y.stride(), d.spare = s.spare;
        if (s.rank > 0) {
            d.h = h;
            for (const Rows &t : s.all_terms()) {
                const auto i = static_cast<size_t>(d.terms++);
                d.term[i] = {parameters.at(s.a_of(i)), parameters.at(s.b_of(i)), gradients.at(s.a_of(i)), gradients.at(s.b_of(i)), t.first, t.rows, in.stream + i};
            }
            d.slot_offsets = slot_offsets, d.slots = s.slots(), d.slot_stride = s.stride();
        }
        d.dy = dy, d.dx = dx;
        d.dropout = in.dropout, d.seed = in.seed;
    }
    Weight w;
    Strided x, residual, y, dy;
    Activations dx;
    Buffer<float> bias, h, parameters, gradients;
    Buffer<int32_t> slot_offsets;
    ml_lora_linear_desc d{};
};

// `gradients` plus the reference's, in the layout of the parameters; nothing between the slots' own changes.
std::vector<double> added_gradients(const Shape &s, const Inputs &in, const reference::LoraGradient &g) {
    auto sum = wide(in.gradients);
    const auto terms = s.all_terms();
    for (int64_t slot = 0; slot < s.slots() && s.rank > 0; slot++) {
        for (size_t t = 0; t < terms.size(); t++) {
            const int64_t column = static_cast<int64_t>(t) * s.rank;
            double *a = sum.data() + slot * s.stride() + s.a_of(t), *b = sum.data() + slot * s.stride() + s.b_of(t);
            for (int64_t i = 0; i < s.rank * s.in; i++) a[i] += g.da[(slot * s.ranks() + column) * s.in + i];
            for (int64_t i = 0; i < terms[t].rows * s.rank; i++) {
                b[i] += g.db[(slot * s.out + terms[t].first + i / s.rank) * s.ranks() + column + i % s.rank];
            }
        }
    }
    return sum;
}

// Without da, nothing is added to the gradient of A; that of B and dx are the same bits.
void expect_no_da(Device &device, Run &run, const Shape &s, const Inputs &in) {
    run.d.dx = run.dx, run.d.accumulate = 0;
    run.gradients.write(in.gradients);
    EXPECT_OK(ml_lora_linear_backward(device, &run.d));
    auto expected = run.gradients.read();
    const auto dx = run.dx.read();
    for (int64_t slot = 0; slot < s.slots(); slot++) {
        for (int64_t t = 0; t < run.d.terms; t++) {
            const auto first = static_cast<size_t>(slot * s.stride() + s.a_of(static_cast<size_t>(t)));
            std::copy_n(in.gradients.begin() + first, s.rank * s.in, expected.begin() + first);
        }
    }
    for (int64_t t = 0; t < run.d.terms; t++) run.d.term[t].da = nullptr;
    for (bool with_dx : {true, false}) {
        run.d.dx = with_dx ? static_cast<void *>(run.dx) : nullptr;
        run.gradients.write(in.gradients);
        EXPECT_OK(ml_lora_linear_backward(device, &run.d));
        EXPECT_SAME_BITS("db without da", run.gradients.read(), expected);
        EXPECT_SAME_BITS("dx without da", run.dx.read(), dx);
    }
}

void expect_matches(Device &device, const Shape &s, const Inputs &in, const reference::LoraResult &forward,
                    const reference::LoraGradient &gradient) {
    Run run(device, s, in);
    EXPECT_OK(ml_lora_linear_forward(device, &run.d));
    EXPECT_CLOSE("y", run.y.read(), forward.y, 1e-6);
    if (in.dropout == 0) EXPECT_CLOSE_FLOAT("h", run.h.read(), forward.h, 1e-6);
    else EXPECT_CLOSE("h", run.h.read(), forward.h, 1e-6);
    EXPECT_OK(ml_lora_linear_backward(device, &run.d));
    EXPECT_CLOSE("dx", run.dx.read(), gradient.dx, 1e-6);
    const auto expected = added_gradients(s, in, gradient);
    EXPECT_CLOSE("da, db", run.gradients.read(), expected, 1e-6);
    // Slot by slot: a small slot's error must not hide behind a large one.
    const auto actual = run.gradients.read();
    for (int64_t slot = 0; slot < s.slots(); slot++) {
        Case at(format("slot %d", int(slot)));
        const size_t first = slot * s.stride(), last = first + s.stride();
        EXPECT_CLOSE("da, db of the slot", std::vector<float>(actual.begin() + first, actual.begin() + last),
                     std::vector<double>(expected.begin() + first, expected.begin() + last), 1e-6);
    }

    // dx added to what is there; the gradients are added once more.
    run.dx.write(in.before);
    run.gradients.write(in.gradients);
    run.d.accumulate = 1;
    EXPECT_OK(ml_lora_linear_backward(device, &run.d));
    auto added = gradient.dx;
    for (size_t i = 0; i < added.size(); i++) added[i] += in.before[i];
    EXPECT_CLOSE("dx accumulated", run.dx.read(), added, 1e-6);

    run.x.read(s.spare), run.dy.read(s.spare);  // nothing else was written to

    // Without dx: the gradients are the same bits.
    run.gradients.write(in.gradients);
    run.d.dx = nullptr;
    EXPECT_OK(ml_lora_linear_backward(device, &run.d));
    EXPECT_CLOSE("da, db without dx", run.gradients.read(), expected, 1e-6);
    if (s.rank > 0) expect_no_da(device, run, s, in);
    if (s.residual) {
        run.y.write(in.residual);
        run.d.residual = run.y;
        EXPECT_OK(ml_lora_linear_forward(device, &run.d));
        EXPECT_CLOSE("y in the residual's place", run.y.read(), forward.y, 1e-6);
    }
    if (s.rank == 0) {
        run.d.x = nullptr, run.d.dx = run.dx, run.d.accumulate = 0;
        EXPECT_OK(ml_lora_linear_backward(device, &run.d));
        EXPECT_CLOSE("dx without x", run.dx.read(), gradient.dx, 1e-6);
    }
}

}  // namespace

TEST(lora_linear_matches_reference) {
    for (auto &s : shapes()) {
        if (too_slow(double(s.in) * double(s.out) * double(s.tokens()) / 4)) continue;
        Case shape(s.text());
        const Inputs in(s);
        const auto forward = reference::lora_linear(in.lora, wide(in.x), in.w.values, wide(in.bias), wide(in.residual), in.a, in.b, in.mask);
        const auto gradient = reference::lora_linear_gradient(in.lora, wide(in.x), in.w.values, in.a, in.b, in.mask, wide(in.dy));
        on_every_device([&](Device &device) { expect_matches(device, s, in, forward, gradient); });
    }
}

// What the frozen weight multiplies is rounded to bf16 where the weight is held in it, and nothing else is: the reference's
// frozen part is of rounded x and dy, that of the adapters is not, and both have the bounds of fp32.
TEST(lora_linear_in_bf16_arithmetic_rounds_what_the_frozen_weight_multiplies) {
    std::vector<Shape> all = shapes();
    all.push_back({1301, 45, 4, {0, 9, 37}, ML_BF16, true, true});   // several blocks of the depth
    all.push_back({45, 1301, 4, {0, 9, 37}, ML_BF16, false, false});
    for (auto &s : all) {
        Case shape(s.text());
        const Inputs in(s);
        const auto frozen_factor = [&](const std::vector<float> &values) {
            auto factor = wide(values);
            if (s.storage == ML_BF16) for (auto &value : factor) value = from_bf16(to_bf16(static_cast<float>(value)));
            return factor;
        };
        const std::vector<double> x = frozen_factor(in.x), dy = frozen_factor(in.dy), no_w(in.w.values.size());
        auto forward = reference::lora_linear(in.lora, wide(in.x), no_w, wide(in.bias), wide(in.residual), in.a, in.b, in.mask);
        auto gradient = reference::lora_linear_gradient(in.lora, wide(in.x), no_w, in.a, in.b, in.mask, wide(in.dy));
        for (int64_t t = 0; t < s.tokens(); t++) {
            for (int64_t o = 0; o < s.out; o++) {
                for (int64_t i = 0; i < s.in; i++) {
                    forward.y[t * s.out + o] += in.w.values[o * s.in + i] * x[t * s.in + i];
                    gradient.dx[t * s.in + i] += in.w.values[o * s.in + i] * dy[t * s.out + o];
                }
            }
        }
        on_every_cpu_in_bf16([&](Device &device) { expect_matches(device, s, in, forward, gradient); });
    }
}

// The op before a linear, RMSNorm or SwiGLU, which writes its x: alone, or both as one op.
struct Before {
    Before(Device &device, const Shape &s, const std::vector<float> &source, const std::vector<float> &up, const std::vector<float> &weight, const Run &run)
        : device(device), from(device, source), gate_up(device, up), w(device, weight), rstd(device, s.tokens()) {
        norm.x = from, norm.weight = w, norm.y = run.x, norm.rstd = rstd, norm.rows = s.tokens(), norm.width = s.in, norm.eps = 1e-5f;
        norm.out_stride = run.d.x_stride;
        swiglu.gate = from, swiglu.up = gate_up, swiglu.y = run.x, swiglu.rows = s.tokens(), swiglu.width = s.in, swiglu.y_stride = run.d.x_stride;
    }
    void alone(bool of_norm) const { EXPECT_OK(of_norm ? ml_rmsnorm_forward(device, &norm) : ml_swiglu_forward(device, &swiglu)); }
    void with(bool of_norm, const ml_lora_linear_desc &linear) const {
        EXPECT_OK(of_norm ? ml_rmsnorm_linear_forward(device, &norm, &linear) : ml_swiglu_linear_forward(device, &swiglu, &linear));
    }
    Device &device;
    Activations from, gate_up;
    Buffer<float> w, rstd;
    ml_rmsnorm_desc norm{};
    ml_swiglu_desc swiglu{};
};

// x, h and y, by RMSNorm or SwiGLU and the linear as one op.
TEST(lora_linear_with_the_op_before_it_matches_reference) {
    std::vector<Shape> all;
    for (const Shape &s : shapes()) {
        if (s.tokens() > 0 && s.in > 1) all.push_back(s);
    }
    all.push_back({264, 96, 16, {0, 20, 33, 33, 70}, ML_BF16, false, false, {{0, 48}, {48, 24}, {72, 24}}, 192, 192});  // 48 ranks
    all.push_back({32, 64, 12, {0, 37}, ML_BF16, false, true, {{0, 24}, {24, 40}}, 32, 32});                           // padded ones
    all.push_back({32, 64, 12, {0, 11, 37}, ML_BF16, true, false, {{0, 24}, {24, 40}}, 8, 0});                         // with no room beside x
    all.push_back({40, 72, 20, {0, 10, 40}, ML_BF16, false, false, {{0, 24}, {24, 24}, {48, 24}}, 0, 0});              // more than 64
    for (const Shape &s : all) {
        if (too_slow(double(s.in) * double(s.out) * double(s.tokens()) / 2)) continue;
        Case shape(s.text());
        const Inputs in(s);
        Random random(static_cast<uint64_t>(s.in + 1));
        const auto source = random.normal(s.tokens() * s.in, 2), up = random.normal(s.tokens() * s.in), weight = random.normal(s.in);
        for (bool norm : {true, false}) {
            Case before(norm ? "RMSNorm" : "SwiGLU");
            const auto x = norm ? reference::rmsnorm(wide(source), wide(weight), 1e-5f) : reference::swiglu(wide(source), wide(up));
            const auto expected = reference::lora_linear(in.lora, x, in.w.values, wide(in.bias), wide(in.residual), in.a, in.b, in.mask);
            on_every_device([&](Device &device) {
                Run run(device, s, in);
                run.x.write(std::vector<float>(x.size(), NAN));
                const Before op(device, s, source, up, weight, run);
                op.with(norm, run.d);
                EXPECT_CLOSE("x", run.x.read(s.spare), x, 5e-7);
                if (s.rank > 0) EXPECT_CLOSE("h", run.h.read(), expected.h, 2e-6);
                if (norm) EXPECT_CLOSE_FLOAT("rstd", op.rstd.read(), reference::rmsnorm_rstd(wide(source), s.in, 1e-5f), 5e-7);
                EXPECT_CLOSE("y", run.y.read(), expected.y, 2e-6);
            });
        }
    }
}

// The two ops one after the other; on the CPU, with dropout and without a rank to the bit.
TEST(lora_linear_with_the_op_before_it_is_the_two_ops) {
    for (float dropout : {0.0f, 0.25f}) {
        for (const Shape &s : {Shape{64, 96, 8, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 48, 48},
                               {67, 35, 8, {0, 1, 30, 33}, ML_F32, true, true}, {48, 100, 0, {0, 25}, ML_F32, true, true}}) {
            Case shape(s.text() + format(", dropout %g", dropout));
            Inputs in(s);
            in.dropout = dropout;
            Random random(4);
            const auto source = random.normal(s.tokens() * s.in, 2), up = random.normal(s.tokens() * s.in), weight = random.normal(s.in);
            on_every_device([&](Device &device) {
                for (bool norm : {true, false}) {
                    Case before(norm ? "RMSNorm" : "SwiGLU");
                    Run two(device, s, in), one(device, s, in);
                    Before(device, s, source, up, weight, two).alone(norm);
                    EXPECT_OK(ml_lora_linear_forward(device, &two.d));
                    Before(device, s, source, up, weight, one).with(norm, one.d);
                    if (!on_cuda() || dropout > 0 || s.rank == 0) {
                        EXPECT_SAME_BITS("x", one.x.read(s.spare), two.x.read(s.spare));
                        EXPECT_SAME_BITS("h", one.h.read(), two.h.read());
                        EXPECT_SAME_BITS("y", one.y.read(), two.y.read());
                    }
                    EXPECT_CLOSE("y", one.y.read(), wide(two.y.read()), 2e-6);
                }
            });
        }
    }
}

TEST(lora_linear_with_dropout_matches_reference) {
    for (const Shape &s : {Shape{67, 35, 8, {0, 1, 30, 33}, ML_BF16, true, true}, {192, 64, 16, {0, 50, 50, 90}, ML_F32, false, true},
                           {5, 9, 3, {0, 7}, ML_F32, false, false},
                           // several Linears in one: each drops from x what it would alone
                           {64, 96, 8, {0, 20, 45}, ML_BF16, true, true, {{0, 48}, {48, 24}, {72, 24}}, 48, 48},
                           {24, 40, 3, {0, 9, 30}, ML_BF16, false, false, {{0, 16}, {24, 16}}},
                           {35, 50, 3, {0, 9, 30}, ML_F32, true, false, {{0, 20}, {20, 30}}, 5, 4}}) {
        Case shape(s.text());
        Inputs in(s);
        in.dropout = 0.3f, in.seed = 0x123456789ABCDEFull, in.stream = 1ull << 40;
        Device first(setups().front());
        in.mask.clear();
        for (size_t i = 0; i < s.all_terms().size(); i++) {
            const auto mask = observe_mask(first, s.tokens(), s.in, in.dropout, in.seed, in.stream + i);
            in.mask.insert(in.mask.end(), mask.begin(), mask.end());
        }
        const auto forward = reference::lora_linear(in.lora, wide(in.x), in.w.values, wide(in.bias), wide(in.residual), in.a, in.b, in.mask);
        const auto gradient = reference::lora_linear_gradient(in.lora, wide(in.x), in.w.values, in.a, in.b, in.mask, wide(in.dy));
        // Forward and backward of every device must use that one mask: it is a function of seed, stream, token, column.
        on_every_device([&](Device &device) { expect_matches(device, s, in, forward, gradient); });
    }
}

TEST(dropout_mask_statistics) {
    const int64_t tokens = 300, in = 130;
    Device device(setups().back());
    for (float dropout : {0.05f, 0.5f, 0.9f}) {
        Case rate(format("dropout %g", dropout));
        const auto mask = observe_mask(device, tokens, in, dropout, 7, 3);
        const double keep = 1 - dropout, expected = 1 / keep;
        double kept = 0;
        std::vector<double> by_token(tokens), by_column(in);
        double beside = 0, below = 0;
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t c = 0; c < in; c++) {
                const double value = mask[t * in + c];
                EXPECT(value == 0 || std::fabs(value - expected) < bound(1e-5) * expected);
                const double one = value != 0;
                kept += one, by_token[t] += one, by_column[c] += one;
                beside += (one - keep) * ((c > 0 && mask[t * in + c - 1] != 0) - keep);
                below += (one - keep) * ((t > 0 && mask[(t - 1) * in + c] != 0) - keep);
            }
        }
        const double n = static_cast<double>(tokens * in), deviation = std::sqrt(keep * (1 - keep));
        EXPECT(std::fabs(kept / n - keep) < 4 * deviation / std::sqrt(n));
        EXPECT(std::fabs(beside / n) < 5 * keep * (1 - keep) / std::sqrt(n) + keep / in);
        EXPECT(std::fabs(below / n) < 5 * keep * (1 - keep) / std::sqrt(n) + keep / tokens);
        for (double row : by_token) EXPECT(std::fabs(row / in - keep) < 5.5 * deviation / std::sqrt(double(in)));
        for (double column : by_column) EXPECT(std::fabs(column / tokens - keep) < 5.5 * deviation / std::sqrt(double(tokens)));
        // Another seed or another stream is another, unrelated mask; the same again is the same.
        EXPECT(observe_mask(device, tokens, in, dropout, 7, 3) == mask);
        for (auto [seed, stream] : {std::pair<uint64_t, uint64_t>{8, 3}, {7, 4}, {7ull << 33, 3}, {3, 7}}) {
            const auto other = observe_mask(device, tokens, in, dropout, seed, stream);
            double both = 0;
            for (size_t i = 0; i < mask.size(); i++) both += ((mask[i] != 0) - keep) * ((other[i] != 0) - keep);
            EXPECT(std::fabs(both / n) < 5 * keep * (1 - keep) / std::sqrt(n));
        }
    }
}

TEST(lora_linear_gradient_matches_finite_differences) {
    const Shape s{5, 4, 3, {0, 2, 2, 5}, ML_F32, true, true};
    Inputs in(s);
    in.dropout = 0.25f;
    Device first(setups().front());
    in.mask = observe_mask(first, s.tokens(), s.in, in.dropout, in.seed, in.stream);
    const auto x = wide(in.x), bias = wide(in.bias), residual = wide(in.residual), dy = wide(in.dy);
    auto loss = [&](const reference::Vec &x, const reference::Vec &a, const reference::Vec &b) {
        return dot(dy, reference::lora_linear(in.lora, x, in.w.values, bias, residual, a, b, in.mask).y);
    };
    reference::LoraGradient g;
    g.dx = numeric_gradient(x, [&](auto &at) { return loss(at, in.a, in.b); });
    g.da = numeric_gradient(in.a, [&](auto &at) { return loss(x, at, in.b); });
    g.db = numeric_gradient(in.b, [&](auto &at) { return loss(x, in.a, at); });
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_lora_linear_forward(device, &run.d));
        EXPECT_OK(ml_lora_linear_backward(device, &run.d));
        EXPECT_CLOSE("dx", run.dx.read(), g.dx, 1e-6);
        EXPECT_CLOSE("da, db", run.gradients.read(), added_gradients(s, in, g), 1e-6);
    });
}

TEST(lora_linear_repeats_bit_for_bit) {
    for (int32_t storage : {ML_F32, ML_BF16}) {
        const Shape s = too_slow(3.3e7) ? Shape{72, 136, 16, {0, 5, 6, 50, 101}, storage, false, true}
                                        : Shape{192, 576, 16, {0, 5, 6, 7, 8, 50, 51, 90, 301}, storage, false, true};
        Case shape(s.text());
        Inputs in(s);
        in.dropout = 0.1f;
        const auto repeats = [&](Device &device) {
            std::vector<std::vector<float>> first;
            for (int again = 0; again < 3; again++) {
                Run run(device, s, in);
                EXPECT_OK(ml_lora_linear_forward(device, &run.d));
                EXPECT_OK(ml_lora_linear_backward(device, &run.d));
                const std::vector<std::vector<float>> now{run.y.read(), run.h.read(), run.dx.read(), run.gradients.read()};
                if (again > 0) {
                    for (size_t i = 0; i < now.size(); i++) EXPECT_SAME_BITS("again", now[i], first[i]);
                }
                first = now;
            }
        };
        on_every_device(repeats);
        on_every_cpu_in_bf16(repeats);
    }
}

// What one slot computes does not depend on what the others hold.
TEST(lora_linear_slots_are_separate) {
    const Shape s{64, 48, 8, {0, 20, 45}, ML_F32, false, false};
    const Inputs in(s);
    on_every_device([&](Device &device) {
        Run run(device, s, in);
        EXPECT_OK(ml_lora_linear_forward(device, &run.d));
        EXPECT_OK(ml_lora_linear_backward(device, &run.d));
        const auto y = run.y.read(), gradients = run.gradients.read();
        auto changed = in.parameters;
        for (size_t i = s.stride(); i < changed.size(); i++) changed[i] += 1;
        run.parameters.write(changed);
        run.gradients.write(in.gradients);
        EXPECT_OK(ml_lora_linear_forward(device, &run.d));
        EXPECT_OK(ml_lora_linear_backward(device, &run.d));
        auto head = [](const std::vector<float> &v, size_t n) { return std::vector<float>(v.begin(), v.begin() + n); };
        EXPECT_SAME_BITS("y of slot 0", head(y, 20 * 48), head(run.y.read(), 20 * 48));
        EXPECT_SAME_BITS("gradients of slot 0", head(gradients, s.stride()), head(run.gradients.read(), s.stride()));
        EXPECT(y != run.y.read());
    });
}

// Whatever a slot without tokens holds reaches nobody.
TEST(lora_linear_empty_slots_may_hold_anything) {
    for (int64_t spare : {0, 24}) {
        const Shape s{64, 48, 8, {0, 20, 20, 45}, ML_BF16, false, false, {}, spare, spare};
        Case shape(s.text());
        Inputs in(s);
        on_every_device([&](Device &device) {
            std::vector<std::vector<float>> first;
            for (float value : {1.0f, NAN, INFINITY}) {
                for (int64_t i = s.stride(); i < 2 * s.stride(); i++) in.parameters[static_cast<size_t>(i)] = value;
                Run run(device, s, in);
                EXPECT_OK(ml_lora_linear_forward(device, &run.d));
                EXPECT_OK(ml_lora_linear_backward(device, &run.d));
                const std::vector<std::vector<float>> now{run.y.read(), run.h.read(), run.dx.read(), run.gradients.read()};
                for (size_t i = 0; i < first.size(); i++) EXPECT_SAME_BITS("with something else in it", now[i], first[i]);
                first = now;
            }
        });
    }
}

TEST(lora_linear_rejects_bad_arguments) {
    Device device(setups().front());
    const Shape s{16, 24, 4, {0, 3, 10}, ML_F32, true, true};
    const Inputs in(s);
    Run run(device, s, in);
    Buffer<int32_t> falling(device, {0, 11, 10}), late(device, {1, 3, 10}), small(device, {0, 3, 9});
    const ml_lora_linear_desc good = run.d;
    EXPECT_OK(ml_lora_linear_forward(device, &good));
    EXPECT_OK(ml_lora_linear_backward(device, &good));
    EXPECT_INVALID(ml_lora_linear_forward(device, nullptr), "desc");
    EXPECT_INVALID(ml_lora_linear_backward(device, nullptr), "desc");
    EXPECT_INVALID(ml_lora_linear_forward(nullptr, &good), "context");
    using Desc = ml_lora_linear_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> both = {
        {"tokens", [](Desc &d) { d.tokens = -1; }},
        {"rank", [](Desc &d) { d.rank = -1; }},
        {"rank", [](Desc &d) { d.rank = INT64_MAX; }},
        {"w", [](Desc &d) { d.w = nullptr; }},
        {"w", [](Desc &d) { d.w = reinterpret_cast<const ml_weight *>(d.x); }},
        {"slots", [](Desc &d) { d.slots = 0; }},
        {"slots", [](Desc &d) { d.slots = -1; }},
        {"slot_stride", [](Desc &d) { d.slot_stride = -1; }},
        {"slot_stride", [](Desc &d) { d.slot_stride = 1; }},
        {"scale", [](Desc &d) { d.scale = NAN; }},
        {"dropout", [](Desc &d) { d.dropout = 1; }},
        {"dropout", [](Desc &d) { d.dropout = -0.1f; }},
        {"dropout", [](Desc &d) { d.dropout = NAN; }},
        {"slot_offsets", [&](Desc &d) { d.slot_offsets = falling; }},
        {"slot_offsets", [&](Desc &d) { d.slot_offsets = late; }},
        {"slot_offsets", [&](Desc &d) { d.slot_offsets = small; }},
        {"slot_offsets", [](Desc &d) { d.slot_offsets = nullptr; }},
        {"x", [](Desc &d) { d.x = nullptr; }},
        {"a", [](Desc &d) { d.term[0].a = nullptr; }},
        {"b", [](Desc &d) { d.term[0].b = nullptr; }},
        {"terms", [](Desc &d) { d.terms = 0; }},
        {"terms", [](Desc &d) { d.terms = ML_LORA_TERMS + 1; }},
        {"term.first", [](Desc &d) { d.term[0].first = -1; }},
        {"term.first", [](Desc &d) { d.term[0].first = 25; }},
        {"term.first", [](Desc &d) { d.term[1] = d.term[0], d.terms = 2; }},  // the same rows twice
        {"term.rows", [](Desc &d) { d.term[0].rows = 0; }},
        {"term.rows", [](Desc &d) { d.term[0].first = 1; }},
        {"x_stride", [](Desc &d) { d.x_stride = 15; }},
        {"y_stride", [](Desc &d) { d.y_stride = 23; }},
        {"spare", [](Desc &d) { d.spare = -1; }},
        {"h", [](Desc &d) { d.h = nullptr; }},
        {"a", [](Desc &d) { d.slot_stride = 1 << 20; }},
    };
    for (auto &[field, spoil] : both) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_lora_linear_forward(device, &bad), field);
        EXPECT_INVALID(ml_lora_linear_backward(device, &bad), field);
    }
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> forward = {
        {"spare", [](Desc &d) { d.spare = 1; }},
        {"x", [](Desc &d) { d.x_stride = 100; }},
        {"x_stride", [](Desc &d) { d.x_stride = 17, d.spare = 2; }},
        {"y", [](Desc &d) { d.y_stride = 100; }},
        {"y", [](Desc &d) { d.y = nullptr; }},
        {"y", [](Desc &d) { d.y = const_cast<void *>(d.x); }},
        {"bias", [](Desc &d) { d.bias = &d.scale; }},
        {"residual", [](Desc &d) { d.residual = &d.scale; }},
    };
    for (auto &[field, spoil] : forward) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_lora_linear_forward(device, &bad), field);
    }
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> backward = {
        {"da", [](Desc &d) { d.term[0].da = const_cast<float *>(&d.scale); }},
        {"da", [](Desc &d) {  // of one term alone
             d.term[0].rows = 12, d.term[1] = d.term[0], d.terms = 2;
             d.term[1].first = 12, d.term[1].da = nullptr;
         }},
        {"db", [](Desc &d) { d.term[0].db = nullptr; }},
        {"dy", [](Desc &d) { d.dy = nullptr; }},
        {"dx", [](Desc &d) { d.dx = &d.scale; }},
        {"dx", [](Desc &d) { d.dx = const_cast<void *>(d.dy); }},
        {"dx", [](Desc &d) { d.dx = const_cast<void *>(d.x); }},
    };
    for (auto &[field, spoil] : backward) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_lora_linear_backward(device, &bad), field);
    }
}

TEST(lora_linear_with_the_op_before_it_rejects_bad_arguments) {
    Device device(setups().front());
    const Shape s{16, 24, 4, {0, 3, 10}, ML_F32, true, true};
    const Inputs in(s);
    Run run(device, s, in);
    const std::vector<float> values(s.tokens() * s.in, 1.0f);
    const Before op(device, s, values, values, std::vector<float>(s.in, 1.0f), run);
    using Norm = ml_rmsnorm_desc;
    using Swiglu = ml_swiglu_desc;
    using Linear = ml_lora_linear_desc;
    auto expect = [&](const char *norm_field, const char *swiglu_field, const std::function<void(Norm &, Swiglu &, Linear &)> &spoil) {
        Case name(norm_field);
        Norm norm = op.norm;
        Swiglu swiglu = op.swiglu;
        Linear linear = run.d;
        spoil(norm, swiglu, linear);
        EXPECT_INVALID(ml_rmsnorm_linear_forward(device, &norm, &linear), norm_field);
        EXPECT_INVALID(ml_swiglu_linear_forward(device, &swiglu, &linear), swiglu_field);
    };
    EXPECT_OK(ml_rmsnorm_linear_forward(device, &op.norm, &run.d));
    EXPECT_OK(ml_swiglu_linear_forward(device, &op.swiglu, &run.d));
    EXPECT_INVALID(ml_rmsnorm_linear_forward(device, nullptr, &run.d), "a descriptor is NULL");
    EXPECT_INVALID(ml_rmsnorm_linear_forward(device, &op.norm, nullptr), "a descriptor is NULL");
    EXPECT_INVALID(ml_swiglu_linear_forward(device, nullptr, &run.d), "a descriptor is NULL");
    EXPECT_INVALID(ml_swiglu_linear_forward(nullptr, &op.swiglu, &run.d), "context");
    expect("norm.x", "swiglu.gate", [](Norm &n, Swiglu &g, Linear &) { n.x = g.gate = nullptr; });
    expect("norm.y", "swiglu.y", [](Norm &n, Swiglu &g, Linear &) { n.y = g.y = nullptr; });
    expect("linear.y", "linear.y", [](Norm &, Swiglu &, Linear &l) { l.y = nullptr; });
    expect("linear.h", "linear.h", [](Norm &, Swiglu &, Linear &l) { l.h = nullptr; });
    expect("linear.w", "linear.w", [](Norm &, Swiglu &, Linear &l) { l.w = nullptr; });
    expect("linear.spare", "linear.spare", [](Norm &, Swiglu &, Linear &l) { l.spare = 1; });
    expect("linear.x: is not norm.y", "linear.x: is not swiglu.y", [&](Norm &, Swiglu &, Linear &l) { l.x = op.from; });
    expect("linear.tokens", "linear.tokens", [](Norm &n, Swiglu &g, Linear &) { n.rows = g.rows = 9; });
    expect("linear.w: its in features", "linear.w: its in features", [](Norm &n, Swiglu &g, Linear &) { n.width = g.width = 8; });
    expect("linear.x_stride", "linear.x_stride", [](Norm &n, Swiglu &g, Linear &l) {
        n.rows = g.rows = l.tokens = 5, n.out_stride = g.y_stride = 17, l.rank = 0;
    });
    Norm grouped = op.norm;
    grouped.group = 2;
    EXPECT_INVALID(ml_rmsnorm_linear_forward(device, &grouped, &run.d), "norm.group");
}
