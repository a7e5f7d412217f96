// The CUDA kernels on the CPU, against the double-precision reference, in several orders of threads with the same bits.
#include <memory>

#include "cuda/kernels.h"
#include "hostcuda/orders.h"
#include "reference.h"

using namespace test;
using namespace metalora;
using cuda::bf16;

namespace {

template <class T> double bound() { return sizeof(T) == 2 ? 1e-2 : 1e-5; }
template <class T> const char *name() { return sizeof(T) == 2 ? "bf16" : "f32"; }

// Values of T, `shift` elements past a 16-byte boundary, between guards that must survive. Rubbish until written.
template <class T> class Values {
public:
    explicit Values(size_t count, int shift = 0) : count_(count), shift_(shift), bytes_((count + shift) * sizeof(T) + 2 * kGuardBytes) {
        memory_.reset(static_cast<unsigned char *>(std::aligned_alloc(128, (bytes_ + 127) / 128 * 128)));
        std::memset(memory_.get(), kGuard, bytes_);
        std::memset(data(), 0xFF, count * sizeof(T));
    }
    Values(const std::vector<float> &values, int shift = 0) : Values(values.size(), shift) {
        for (size_t i = 0; i < count_; i++) data()[i] = cuda::from_float<T>(values[i]);
    }
    ~Values() {
        const unsigned char *behind = reinterpret_cast<const unsigned char *>(data() + count_);
        bool intact = true;
        for (const unsigned char *at = memory_.get(); at < reinterpret_cast<unsigned char *>(data()); at++) intact &= *at == kGuard;
        for (size_t i = 0; i < kGuardBytes; i++) intact &= behind[i] == kGuard;
        if (!intact) fail(__FILE__, __LINE__, "a kernel wrote outside a buffer");
    }
    T *data() const { return reinterpret_cast<T *>(memory_.get() + kGuardBytes) + shift_; }
    operator T *() const { return data(); }
    std::vector<float> read() const {
        std::vector<float> values(count_);
        for (size_t i = 0; i < count_; i++) values[i] = cuda::to_float(data()[i]);
        return values;
    }

private:
    struct Free { void operator()(unsigned char *p) const { std::free(p); } };
    size_t count_;
    int shift_;
    size_t bytes_;
    std::unique_ptr<unsigned char, Free> memory_;
};

#define EXPECT_RAN(call) EXPECT((call) == cudaSuccess)

// Runs op() in every order; what it returns has to be the same bits each time. Gives them.
template <class Op> auto same_in_every_order(const Op &op) {
    decltype(op()) first;
    in_every_order([&] {
        auto outputs = op();
        if (first.empty()) first = outputs;
        for (size_t i = 0; i < outputs.size(); i++) EXPECT_SAME_BITS("output", first[i], outputs[i]);
    });
    return first;
}

using Outputs = std::vector<std::vector<float>>;

struct Rows {
    int64_t rows, width;
    int shift;
};

const std::vector<Rows> kRows = {{1, 1, 0}, {1, 64, 0}, {3, 3, 0}, {19, 128, 0}, {9, 80, 1}, {5, 512, 0}, {2, 520, 0}, {3, 576, 0},
                                 {2, 1000, 1}, {1, 1003, 0}, {2, 4096, 0}};

template <class T> void rmsnorm() {
    for (const Rows &s : kRows) {
        Case shape(format("%s [%d, %d], %d past alignment", name<T>(), int(s.rows), int(s.width), s.shift));
        Random random(static_cast<uint64_t>(s.rows * 7 + s.width));
        const size_t n = static_cast<size_t>(s.rows * s.width);
        Values<T> x(random.normal(n), s.shift), dy(random.normal(n), s.shift), before(random.normal(n), s.shift);
        Values<float> weight(random.normal(s.width), s.shift);
        const double eps = 1e-5;
        const auto xs = wide(x.read()), ws = wide(weight.read()), dys = wide(dy.read());
        for (bool accumulate : {false, true}) {
            const auto out = same_in_every_order([&] {
                Values<T> y(n, s.shift), dx(accumulate ? before.read() : std::vector<float>(n, NAN), s.shift);
                Values<float> rstd(s.rows);
                ml_rmsnorm_desc d{};
                d.x = x, d.weight = weight, d.y = y, d.rstd = rstd, d.dy = dy, d.dx = dx, d.rows = s.rows, d.width = s.width;
                d.eps = static_cast<float>(eps), d.accumulate = accumulate;
                EXPECT_RAN(cuda::rmsnorm_forward<T>(d, nullptr));
                EXPECT_RAN(cuda::rmsnorm_backward<T>(d, nullptr));
                return Outputs{y.read(), rstd.read(), dx.read()};
            });
            EXPECT_CLOSE("y", out[0], reference::rmsnorm(xs, ws, eps), bound<T>());
            EXPECT_CLOSE("rstd", out[1], reference::rmsnorm_rstd(xs, s.width, eps), 1e-5);
            auto expected = reference::rmsnorm_dx(xs, ws, eps, dys);
            if (accumulate) {
                const auto more = before.read();
                for (size_t i = 0; i < n; i++) expected[i] += more[i];
            }
            if (s.width > 1 || accumulate) EXPECT_CLOSE("dx", out[2], expected, bound<T>());
        }
    }
}

template <class T> void swiglu() {
    for (const Rows &s : {Rows{1, 1, 0}, Rows{1, 7, 0}, Rows{3, 1536, 0}, Rows{1, 2048, 1}, Rows{1, 4100, 0}}) {
        Case shape(format("%s, %d elements, %d past alignment", name<T>(), int(s.rows * s.width), s.shift));
        const size_t n = static_cast<size_t>(s.rows * s.width);
        Random random(n);
        const auto gate = random.normal(n, 3), up = random.normal(n), dy = random.normal(n);
        const auto out = same_in_every_order([&] {
            Values<T> g(gate, s.shift), u(up, s.shift), grad(dy, s.shift), y(n, s.shift), dgate(n, s.shift);
            ml_swiglu_desc d{};
            d.gate = g, d.up = u, d.y = y, d.dy = grad, d.dgate = dgate, d.dup = grad, d.count = static_cast<int64_t>(n);
            EXPECT_RAN(cuda::swiglu_forward<T>(d, nullptr));
            EXPECT_RAN(cuda::swiglu_backward<T>(d, nullptr));  // dup over dy
            return Outputs{y.read(), dgate.read(), grad.read()};
        });
        const auto g = wide(Values<T>(gate).read()), u = wide(Values<T>(up).read()), grad = wide(Values<T>(dy).read());
        const auto gradient = reference::swiglu_gradient(g, u, grad);
        EXPECT_CLOSE("y", out[0], reference::swiglu(g, u), bound<T>());
        EXPECT_CLOSE("dgate", out[1], gradient.dgate, bound<T>());
        EXPECT_CLOSE("dup", out[2], gradient.dup, bound<T>());
    }
}

template <class T> void rope() {
    struct Shape { int64_t tokens, heads, head_dim; };
    for (const Shape &s : {Shape{1, 1, 2}, Shape{5, 3, 64}, Shape{7, 2, 80}, Shape{3, 1, 96}, Shape{4, 2, 128}, Shape{6, 1, 20}}) {
        Case shape(format("%s, %d tokens, %d heads of %d", name<T>(), int(s.tokens), int(s.heads), int(s.head_dim)));
        const int64_t positions = 512;
        const size_t n = static_cast<size_t>(s.tokens * s.heads * s.head_dim);
        Random random(n);
        const auto x = random.normal(n);
        std::vector<int32_t> at(s.tokens);
        for (auto &p : at) p = static_cast<int32_t>(random.below(positions));
        struct Kind { int32_t scaling; reference::Vec frequencies; };
        for (const Kind &kind : {Kind{ML_ROPE_PLAIN, reference::rope_plain_frequencies(s.head_dim, 10000)},
                                 Kind{ML_ROPE_LINEAR, reference::rope_linear_frequencies(s.head_dim, 10000, 4)},
                                 Kind{ML_ROPE_LLAMA3, reference::rope_llama3_frequencies(s.head_dim, 10000, 8, 1, 4, 128)}}) {
            const auto out = same_in_every_order([&] {
                Values<float> cos(positions * s.head_dim / 2), sin(positions * s.head_dim / 2);
                Values<T> forward(x), backward(x);
                ml_rope_table_desc table{};
                table.cos = cos, table.sin = sin, table.positions = positions, table.head_dim = s.head_dim, table.theta = 10000;
                table.scaling = kind.scaling, table.factor = kind.scaling == ML_ROPE_LLAMA3 ? 8 : 4;
                table.low_freq_factor = 1, table.high_freq_factor = 4, table.original_max_positions = 128;
                EXPECT_RAN(cuda::rope_table(table, nullptr));
                ml_rope_desc d{};
                d.x = forward, d.cos = cos, d.sin = sin, d.position = at.data(), d.tokens = s.tokens, d.positions = positions;
                d.heads = s.heads, d.head_dim = s.head_dim;
                EXPECT_RAN(cuda::rope_forward<T>(d, nullptr));
                d.x = backward;
                EXPECT_RAN(cuda::rope_backward<T>(d, nullptr));
                return Outputs{forward.read(), backward.read()};
            });
            const auto in = wide(Values<T>(x).read());
            EXPECT_CLOSE("forward", out[0], reference::rope(in, kind.frequencies, at, s.heads, s.head_dim, false), bound<T>());
            EXPECT_CLOSE("backward", out[1], reference::rope(in, kind.frequencies, at, s.heads, s.head_dim, true), bound<T>());
        }
    }
}

// Vectors of adapters: count floats, stride apart.
struct Slots {
    int64_t count, stride, slots;
};

std::vector<double> slot(const std::vector<double> &all, const Slots &s, int64_t i) {
    return {all.begin() + i * s.stride, all.begin() + i * s.stride + s.count};
}

const std::vector<Slots> kSlots = {{1, 1, 1}, {5, 7, 3}, {1000, 1000, 2}, {4097, 4100, 1}, {20000, 20008, 4}, {40001, 40001, 5}};

}  // namespace

TEST(cuda_rmsnorm_matches_reference) {
    rmsnorm<float>();
    rmsnorm<bf16>();
}

TEST(cuda_swiglu_matches_reference) {
    swiglu<float>();
    swiglu<bf16>();
}

TEST(cuda_rope_matches_reference) {
    rope<float>();
    rope<bf16>();
}

TEST(cuda_optimizers_match_reference) {
    for (const Slots &s : kSlots) {
        Case shape(format("%d slots of %d, %d apart", int(s.slots), int(s.count), int(s.stride)));
        const size_t n = static_cast<size_t>(s.stride * s.slots);
        Random random(n);
        const auto p = random.normal(n), g = random.normal(n), m = random.normal(n);
        auto v = random.normal(n);
        for (float &x : v) x *= x;
        const auto out = same_in_every_order([&] {
            Values<float> sp(p), ap(p), grad(g), am(m), av(v);
            ml_sgd_desc sgd{};
            sgd.parameter = sp, sgd.grad = grad, sgd.count = s.count, sgd.stride = s.stride, sgd.slots = s.slots;
            sgd.lr = 0.25f, sgd.weight_decay = 0.5f;
            EXPECT_RAN(cuda::sgd_step(sgd, nullptr));
            ml_adamw_desc adamw{};
            adamw.parameter = ap, adamw.grad = grad, adamw.m = am, adamw.v = av, adamw.count = s.count, adamw.stride = s.stride;
            adamw.slots = s.slots, adamw.step = 3, adamw.lr = 0.25f, adamw.beta1 = 0.875f, adamw.beta2 = 0.984375f;
            adamw.eps = 1e-8f, adamw.weight_decay = 0.125f;
            EXPECT_RAN(cuda::adamw_step(adamw, nullptr));
            return Outputs{sp.read(), ap.read(), am.read(), av.read()};
        });
        auto sp = wide(p), ap = wide(p), am = wide(m), av = wide(v);
        for (int64_t i = 0; i < s.slots; i++) {
            for (int64_t j = i * s.stride; j < i * s.stride + s.count; j++) {
                sp[j] -= 0.25 * (g[j] + 0.5 * sp[j]);
                am[j] = 0.875 * am[j] + 0.125 * g[j];
                av[j] = 0.984375 * av[j] + 0.015625 * double(g[j]) * g[j];
                ap[j] = ap[j] * (1 - 0.25 * 0.125)
                    - 0.25 / (1 - std::pow(0.875, 3)) * am[j] / (std::sqrt(av[j] / (1 - std::pow(0.984375, 3))) + 1e-8);
            }
        }
        EXPECT_CLOSE("sgd", out[0], sp, 1e-6);
        EXPECT_CLOSE("adamw parameter", out[1], ap, 1e-6);
        EXPECT_CLOSE("adamw m", out[2], am, 1e-6);
        EXPECT_CLOSE("adamw v", out[3], av, 1e-6);
    }
}

TEST(cuda_clip_matches_reference) {
    for (const Slots &s : kSlots) {
        for (float most : {0.0f, 3.0f, 1e6f}) {
            Case shape(format("%d slots of %d, max_norm %g", int(s.slots), int(s.count), most));
            const size_t n = static_cast<size_t>(s.stride * s.slots);
            Random random(n);
            const auto g = random.normal(n);
            const auto out = same_in_every_order([&] {
                Values<float> grad(g), norm(s.slots);
                ml_clip_desc d{};
                d.grad = grad, d.norm = norm, d.count = s.count, d.stride = s.stride, d.slots = s.slots, d.max_norm = most;
                std::vector<double> scratch(cuda::clip_global_norm_scratch(d), NAN);
                EXPECT_RAN(cuda::clip_global_norm(d, scratch.data(), nullptr));
                return Outputs{grad.read(), norm.read()};
            });
            auto expected = wide(g);
            std::vector<double> norms;
            for (int64_t i = 0; i < s.slots; i++) {
                const auto one = slot(wide(g), s, i);
                norms.push_back(std::sqrt(dot(one, one)));
                const double factor = most > 0 ? std::min(1.0, most / (norms.back() + 1e-6)) : 1;
                for (int64_t j = 0; j < s.count; j++) expected[i * s.stride + j] *= factor;
            }
            EXPECT_CLOSE("gradient", out[0], expected, 1e-6);
            EXPECT_CLOSE("norm", out[1], norms, 1e-6);
        }
    }
}

TEST(cuda_fill_and_broadcast) {
    for (const Slots &s : kSlots) {
        Case shape(format("%d slots of %d, %d apart", int(s.slots), int(s.count), int(s.stride)));
        Random random(3);
        const auto from = random.normal(s.count);
        const auto out = same_in_every_order([&] {
            Values<float> to(std::vector<float>(s.stride * s.slots, 5.0f)), source(from), filled(s.count);
            EXPECT_RAN(cuda::broadcast(to, source, s.count, s.stride, s.slots, nullptr));
            EXPECT_RAN(cuda::fill(filled, s.count, 2.5f, nullptr));
            return Outputs{to.read(), filled.read()};
        });
        std::vector<float> expected(s.stride * s.slots, 5.0f);
        for (int64_t i = 0; i < s.slots; i++) std::copy(from.begin(), from.end(), expected.begin() + i * s.stride);
        EXPECT_SAME_BITS("broadcast", out[0], expected);
        EXPECT_SAME_BITS("fill", out[1], std::vector<float>(s.count, 2.5f));
    }
}

TEST(cuda_task_reduce_matches_reference) {
    for (const Slots &s : {Slots{1, 1, 1}, Slots{5, 7, 3}, Slots{1000, 1000, 4}, Slots{9001, 9004, 5}, Slots{20000, 20000, 8},
                           Slots{3000, 3001, 11}, Slots{500, 500, 17}}) {
        for (bool aliased : {false, true}) {
            Case shape(format("%d slots of %d, %d apart%s", int(s.slots), int(s.count), int(s.stride), aliased ? ", out over slot 0" : ""));
            Random random(static_cast<uint64_t>(s.count));
            const auto g = random.normal(s.stride * s.slots), w = random.normal(s.slots);
            std::vector<double> gram_first;
            const auto out = same_in_every_order([&] {
                Values<float> grad(g), weight(w), sum(s.count);
                std::vector<double> gram(s.slots * s.slots, NAN);
                ml_task_reduce_desc d{};
                d.grad = grad, d.weight = weight, d.out = aliased ? static_cast<float *>(grad) : static_cast<float *>(sum);
                d.gram = gram.data(), d.count = s.count, d.stride = s.stride, d.slots = s.slots;
                std::vector<double> scratch(cuda::task_reduce_scratch(d), NAN);
                EXPECT_RAN(cuda::task_reduce(d, scratch.data(), nullptr));
                if (gram_first.empty()) gram_first = gram;
                EXPECT_SAME_BITS("gram", gram_first, gram);
                auto result = aliased ? grad.read() : sum.read();
                result.resize(s.count);
                return Outputs{result};
            });
            std::vector<double> sum(s.count, 0.0);
            for (int64_t i = 0; i < s.slots; i++) {
                const auto gi = slot(wide(g), s, i);
                for (int64_t j = 0; j < s.count; j++) sum[j] += double(w[i]) * gi[j];
                for (int64_t j = 0; j < s.slots; j++) {
                    const auto gj = slot(wide(g), s, j);
                    EXPECT(std::fabs(gram_first[i * s.slots + j] - dot(gi, gj)) < 1e-9 * static_cast<double>(s.count));
                }
            }
            EXPECT_CLOSE("weighted sum", out[0], sum, 1e-6);
        }
    }
}

// What a missing __syncthreads does to the sums over a block. Each kernel with barriers is run with one of them left out.
TEST(cuda_removed_barriers_show) {
    Random random(9);
    const auto g = random.normal(4 * 1000), w = random.normal(4), weight = random.normal(1000);
    auto reduced = [&] {
        Values<float> grad(g), weights(w);
        std::vector<double> gram(16, NAN);
        ml_task_reduce_desc d{};
        d.grad = grad, d.weight = weights, d.gram = gram.data(), d.count = 1000, d.stride = 1000, d.slots = 4;
        std::vector<double> scratch(cuda::task_reduce_scratch(d), NAN);
        EXPECT_RAN(cuda::task_reduce(d, scratch.data(), nullptr));
        return gram;
    };
    auto normed = [&] {
        Values<float> x(g), scale(weight), y(g.size());
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = scale, d.y = y, d.rows = 4, d.width = 1000, d.eps = 1e-5f;
        EXPECT_RAN(cuda::rmsnorm_forward<float>(d, nullptr));
        const auto values = y.read();
        return std::vector<double>(values.begin(), values.end());
    };
    auto shows = [&](auto op, int64_t barrier) {
        const auto right = op();
        bool differs = false;
        in_every_order([&] {
            hostcuda::skip_barrier(barrier);
            const auto wrong = op();
            hostcuda::skip_barrier(-1);
            differs = differs || std::memcmp(right.data(), wrong.data(), right.size() * sizeof(double)) != 0;
        });
        return differs;
    };
    EXPECT(shows(normed, 1));    // the partial sums are read before they are there
    EXPECT(!shows(normed, 0));   // guards an earlier sum of the block, of which a norm has none
    EXPECT(shows(reduced, 1));
    EXPECT(shows(reduced, 2));   // the next sum's partials overwrite those still to be read
}
