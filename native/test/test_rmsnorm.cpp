// RMSNorm, forward and backward.
#include "harness.h"
#include "reference.h"

using namespace test;

namespace {

struct Shape {
    int64_t rows, width;
    double eps;
};

struct Inputs {
    explicit Inputs(const Shape &s) {
        Random random(static_cast<uint64_t>(s.rows * 1000 + s.width));
        x = random.normal(s.rows * s.width, 2);
        weight = random.normal(s.width);
        dy = random.normal(s.rows * s.width);
        dx = random.normal(s.rows * s.width);
        eps = static_cast<float>(s.eps);
    }
    std::vector<float> x, weight, dy, dx;
    float eps;
};

const std::vector<Shape> shapes = {{1, 1, 1e-5}, {1, 576, 1e-5}, {7, 3, 1e-6}, {33, 64, 1e-6}, {5, 67, 1e-5},
                                   {2, 4096, 1e-5}, {700, 100, 1e-5}, {3, 31, 0.1}};

}  // namespace

TEST(rmsnorm_matches_reference) {
    for (auto &s : shapes) {
        Case shape(format("rows %d, width %d", int(s.rows), int(s.width)));
        const Inputs in(s);
        const auto x = wide(in.x), weight = wide(in.weight);
        const auto y_expected = reference::rmsnorm(x, weight, in.eps);
        const auto rstd_expected = reference::rmsnorm_rstd(x, s.width, in.eps);
        const auto dx_expected = reference::rmsnorm_dx(x, weight, in.eps, wide(in.dy));
        auto added = dx_expected;
        for (size_t i = 0; i < added.size(); i++) added[i] += in.dx[i];
        // A row of one number is all but constant: its gradient is a difference of nearly equal terms.
        const double bound = s.width == 1 ? 1e-1 : 1e-6;
        on_every_device([&](Device &device) {
            Activations x(device, in.x), y(device, in.x.size());
            Buffer<float> weight(device, in.weight), rstd(device, s.rows);
            Activations dy(device, in.dy), dx(device, in.x.size());
            ml_rmsnorm_desc d{};
            d.x = x, d.weight = weight, d.y = y, d.rstd = rstd, d.rows = s.rows, d.width = s.width, d.eps = in.eps;
            EXPECT_OK(ml_rmsnorm_forward(device, &d));
            EXPECT_CLOSE("y", y.read(), y_expected, 5e-7);
            EXPECT_CLOSE_FLOAT("rstd", rstd.read(), rstd_expected, 5e-7);
            const auto forward = y.read();
            d.dy = dy, d.dx = dx;
            EXPECT_OK(ml_rmsnorm_backward(device, &d));
            EXPECT_CLOSE("dx", dx.read(), dx_expected, bound);
            dx.write(in.dx);
            d.accumulate = 1;
            EXPECT_OK(ml_rmsnorm_backward(device, &d));
            EXPECT_CLOSE("dx accumulated", dx.read(), added, 1e-6);
            d.accumulate = 0, d.dx = dy;  // in place
            EXPECT_OK(ml_rmsnorm_backward(device, &d));
            EXPECT_CLOSE("dx in dy's place", dy.read(), dx_expected, bound);
            d.y = x, d.rstd = nullptr;
            EXPECT_OK(ml_rmsnorm_forward(device, &d));
            EXPECT_SAME_BITS("y in x's place, without rstd", x.read(), forward);
            x.write(in.x), dy.write(in.dy);
            for (int64_t between : {1, 24}) {
                Strided rows(device, s.rows, s.width, between), sums(device, s.width, between, in.dx);
                rows.write(std::vector<float>(in.x.size(), NAN));
                d.y = rows, d.dx = sums, d.rstd = rstd, d.accumulate = 1, d.out_stride = rows.stride();
                EXPECT_OK(ml_rmsnorm_forward(device, &d));
                EXPECT_CLOSE("y, strided", rows.read(), y_expected, 5e-7);
                EXPECT_OK(ml_rmsnorm_backward(device, &d));
                EXPECT_CLOSE("dx accumulated, strided", sums.read(), added, 1e-6);
            }
        });
    }
}

// Heads side by side, as columns of wider rows; in their own place, and from other rows to others.
TEST(rmsnorm_of_groups_matches_reference) {
    struct Size { int64_t tokens, heads, width, between; };
    for (const Size &s : {Size{9, 3, 16, 24}, {5, 2, 128, 8}, {4, 2, 33, 3}, {3, 2, 520, 40}, {2, 4, 8, 0}}) {
        Case shape(format("tokens %d, heads %d, width %d, between %d", int(s.tokens), int(s.heads), int(s.width), int(s.between)));
        const int64_t rows = s.tokens * s.heads, all = s.heads * s.width;
        const Inputs in({rows, s.width, 1e-6});
        const auto y_expected = reference::rmsnorm(wide(in.x), wide(in.weight), in.eps);
        const auto dx_expected = reference::rmsnorm_dx(wide(in.x), wide(in.weight), in.eps, wide(in.dy));
        on_every_device([&](Device &device) {
            Strided x(device, all, s.between, in.x), y(device, s.tokens, all, s.between + 8), dy(device, all, s.between + 16, in.dy);
            Activations dx(device, in.x.size());
            Buffer<float> weight(device, in.weight), rstd(device, rows);
            y.write(std::vector<float>(in.x.size(), NAN));
            ml_rmsnorm_desc d{};
            d.x = x, d.weight = weight, d.y = y, d.rstd = rstd, d.rows = rows, d.width = s.width, d.group = s.heads, d.eps = in.eps;
            d.x_stride = x.stride(), d.out_stride = y.stride();
            EXPECT_OK(ml_rmsnorm_forward(device, &d));
            const auto forward = y.read();
            EXPECT_CLOSE("y", forward, y_expected, 5e-7);
            EXPECT_CLOSE_FLOAT("rstd", rstd.read(), reference::rmsnorm_rstd(wide(in.x), s.width, in.eps), 5e-7);
            d.dy = dy, d.dy_stride = dy.stride(), d.dx = dx, d.out_stride = 0;
            EXPECT_OK(ml_rmsnorm_backward(device, &d));
            EXPECT_CLOSE("dx", dx.read(), dx_expected, 1e-6);
            d.dx = dy, d.out_stride = dy.stride();
            EXPECT_OK(ml_rmsnorm_backward(device, &d));
            EXPECT_CLOSE("dx in dy's place", dy.read(), dx_expected, 1e-6);
            d.y = x, d.out_stride = x.stride();
            EXPECT_OK(ml_rmsnorm_forward(device, &d));
            EXPECT_SAME_BITS("y in x's place", x.read(), forward);
        });
    }
}

TEST(rmsnorm_gradient_matches_finite_differences) {
    const Shape s{3, 11, 1e-3};
    const Inputs in(s);
    const auto weight = wide(in.weight), dy = wide(in.dy);
    const auto expected = numeric_gradient(wide(in.x), [&](auto &x) { return dot(dy, reference::rmsnorm(x, weight, in.eps)); });
    on_every_device([&](Device &device) {
        Activations x(device, in.x), y(device, in.x.size());
        Buffer<float> w(device, in.weight), rstd(device, s.rows);
        Activations dy(device, in.dy), dx(device, in.x.size());
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = w, d.y = y, d.rstd = rstd, d.dy = dy, d.dx = dx, d.rows = s.rows, d.width = s.width, d.eps = in.eps;
        EXPECT_OK(ml_rmsnorm_forward(device, &d));
        EXPECT_OK(ml_rmsnorm_backward(device, &d));
        EXPECT_CLOSE("dx", dx.read(), expected, 1e-6);
    });
}

TEST(rmsnorm_zero_row_is_finite) {
    on_every_device([&](Device &device) {
        Activations x(device, std::vector<float>(40, 0.0f)), y(device, 40);
        Buffer<float> w(device, std::vector<float>(20, 1.0f));
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = w, d.y = y, d.rows = 2, d.width = 20, d.eps = 1e-5f;
        EXPECT_OK(ml_rmsnorm_forward(device, &d));
        EXPECT_SAME_BITS("y", y.read(), std::vector<float>(40, 0.0f));
        d.rows = 0;
        EXPECT_OK(ml_rmsnorm_forward(device, &d));
    });
}

TEST(rmsnorm_rejects_bad_arguments) {
    Device device(setups().front());
    Activations x(device, 40), y(device, 40), dy(device, 40), dx(device, 40);
    Buffer<float> w(device, 20), rstd(device, 2);
    ml_rmsnorm_desc good{};
    good.x = x, good.weight = w, good.y = y, good.rstd = rstd, good.dy = dy, good.dx = dx, good.rows = 2, good.width = 20;
    good.eps = 1e-5f;
    EXPECT_OK(ml_rmsnorm_forward(device, &good));
    EXPECT_INVALID(ml_rmsnorm_forward(device, nullptr), "desc");
    using Desc = ml_rmsnorm_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> both = {
        {"rows", [](Desc &d) { d.rows = -1; }},     {"width", [](Desc &d) { d.width = 0; }},
        {"eps", [](Desc &d) { d.eps = -1; }},       {"eps", [](Desc &d) { d.eps = INFINITY; }},
        {"x", [](Desc &d) { d.x = nullptr; }},      {"weight", [](Desc &d) { d.weight = nullptr; }},
        {"x", [](Desc &d) { d.rows = 1 << 30; }},   {"weight", [&](Desc &d) { d.weight = w.at(1) + 32; }},
    };
    for (auto &[field, spoil] : both) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), field);
        EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), field);
    }
    Desc bad = good;
    bad.y = nullptr;
    EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), "y");
    bad = good, bad.group = 3;
    EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), "rows");
    bad = good, bad.group = -1;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "group");
    bad = good, bad.group = 2, bad.x_stride = 39;
    EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), "x_stride");
    bad = good, bad.x_stride = 200;
    EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), "x");
    bad = good, bad.dy_stride = 200;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "dy");
    bad = good, bad.rows = 1, bad.y = x, bad.out_stride = 21;
    EXPECT_INVALID(ml_rmsnorm_forward(device, &bad), "y");
    bad = good, bad.rstd = nullptr;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "rstd");
    bad = good, bad.dy = nullptr;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "dy");
    bad = good, bad.dx = nullptr;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "dx");
    bad = good, bad.dx = dy, bad.accumulate = 1;
    EXPECT_INVALID(ml_rmsnorm_backward(device, &bad), "dx");
}
