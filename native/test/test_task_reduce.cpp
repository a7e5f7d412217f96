// Cross-task reduction: weighted sum and Gram matrix.
#include "harness.h"

using namespace test;

TEST(task_reduce_matches_reference) {
    struct Shape { int64_t count, stride, slots; };
    for (const Shape &s : {Shape{1, 1, 1}, {3, 5, 2}, {1023, 1024, 3}, {1025, 1025, 4}, {5000, 5008, 7}, {100001, 100016, 5}, {0, 4, 3},
                           {4096, 4096, 4}, {10240, 10248, 8}, {2052, 2056, 16}, {2500, 2512, 19}, {301, 303, 9}, {6000, 6001, 2}, {12, 12, 17},
                           {70000, 70000, 9}}) {
        Case shape(format("count %d, stride %d, slots %d", int(s.count), int(s.stride), int(s.slots)));
        Random random(static_cast<uint64_t>(s.count));
        const auto grad = random.normal((s.slots - 1) * s.stride + s.count), weight = random.normal(s.slots);
        std::vector<double> out(s.count), gram(s.slots * s.slots);
        for (int64_t i = 0; i < s.slots; i++) {
            for (int64_t c = 0; c < s.count; c++) out[c] += double(weight[i]) * grad[i * s.stride + c];
            for (int64_t j = 0; j < s.slots; j++) {
                for (int64_t c = 0; c < s.count; c++) gram[i * s.slots + j] += double(grad[i * s.stride + c]) * grad[j * s.stride + c];
            }
        }
        std::vector<double> first;
        on_every_device([&](Device &device) {
            Buffer<float> g(device, grad), w(device, weight), sum(device, s.count);
            Buffer<double> products(device, s.slots * s.slots);
            ml_task_reduce_desc d{};
            d.grad = g, d.weight = w, d.out = sum, d.gram = products, d.count = s.count, d.stride = s.stride, d.slots = s.slots;
            EXPECT_OK(ml_task_reduce(device, &d));
            EXPECT_CLOSE("out", sum.read(), out, 2e-7);
            const auto actual = products.read();
            double scale = 0, worst = 0;
            for (size_t i = 0; i < gram.size(); i++) {
                scale = std::max(scale, std::fabs(gram[i]));
                worst = std::max(worst, std::fabs(actual[i] - gram[i]));
            }
            EXPECT(worst <= 1e-12 * scale);  // double precision, not float
            for (int64_t i = 0; i < s.slots; i++) {
                for (int64_t j = 0; j < i; j++) EXPECT(actual[i * s.slots + j] == actual[j * s.slots + i]);
            }
            if (!first.empty()) EXPECT_SAME_BITS("Gram matrix on other threads or instruction sets", first, actual);
            first = actual;

            const auto both = sum.read();
            sum.write(std::vector<float>(s.count, 7.0f));
            d.gram = nullptr;
            EXPECT_OK(ml_task_reduce(device, &d));
            EXPECT_SAME_BITS("out alone", sum.read(), both);
            products.write(std::vector<double>(gram.size(), -1));
            d.gram = products, d.out = nullptr, d.weight = nullptr;
            EXPECT_OK(ml_task_reduce(device, &d));
            EXPECT_SAME_BITS("Gram matrix alone", products.read(), actual);
            Buffer<float> off(device, s.count + 1);  // beside the addresses of packs
            d.weight = w, d.out = off.at(1);
            EXPECT_OK(ml_task_reduce(device, &d));
            EXPECT_SAME_BITS("Gram matrix with out beside", products.read(), actual);
            auto beside = off.read();
            beside.erase(beside.begin());
            EXPECT_SAME_BITS("out beside", beside, both);
            d.out = g;
            EXPECT_OK(ml_task_reduce(device, &d));
            auto in_place = g.read();
            in_place.resize(s.count);
            EXPECT_SAME_BITS("out in the first slot", in_place, both);
            EXPECT_SAME_BITS("Gram matrix with out in the first slot", products.read(), actual);
        });
    }
}

TEST(task_reduce_rejects_bad_arguments) {
    Device device(setups().front());
    Buffer<float> grad(device, std::vector<float>(30, 1.0f)), weight(device, std::vector<float>(3, 1.0f)), out(device, 10);
    Buffer<double> gram(device, 9);
    ml_task_reduce_desc good{};
    good.grad = grad, good.weight = weight, good.out = out, good.gram = gram, good.count = good.stride = 10, good.slots = 3;
    EXPECT_OK(ml_task_reduce(device, &good));
    EXPECT_INVALID(ml_task_reduce(device, nullptr), "desc");
    using Desc = ml_task_reduce_desc;
    const std::vector<std::pair<const char *, std::function<void(Desc &)>>> spoils = {
        {"count", [](Desc &d) { d.count = -1; }},        {"stride", [](Desc &d) { d.stride = 9; }},
        {"slots", [](Desc &d) { d.slots = -1; }},        {"grad", [](Desc &d) { d.grad = nullptr; }},
        {"weight", [](Desc &d) { d.weight = nullptr; }}, {"out", [](Desc &d) { d.out = nullptr, d.gram = nullptr; }},
        {"gram", [&](Desc &d) { d.gram = gram.at(9) + 15; }}, {"grad", [](Desc &d) { d.slots = 4096; }},
    };
    for (auto &[field, spoil] : spoils) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_task_reduce(device, &bad), field);
    }
}
