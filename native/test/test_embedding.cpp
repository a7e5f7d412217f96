// Frozen weights in every source and storage type, and the embedding that reads them back.
#include "weights.h"

using namespace test;

namespace {

std::vector<float> embed(Device &device, ml_weight *table, int64_t width, const std::vector<int32_t> &ids) {
    Buffer<int32_t> id(device, ids);
    Activations y(device, ids.size() * static_cast<size_t>(width));
    ml_embedding_desc d{};
    d.table = table, d.ids = id, d.y = y, d.tokens = static_cast<int64_t>(ids.size());
    EXPECT_OK(ml_embedding_forward(device, &d));
    return y.read();
}

std::vector<int32_t> all_rows(int64_t n) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < n; i++) ids.push_back(static_cast<int32_t>(n - 1 - i));
    return ids;
}

int64_t bytes_of(ml_context *context, int32_t storage, int64_t out, int64_t in, int64_t adapter_columns = 0) {
    const ml_weight_desc d{nullptr, ML_F32, storage, out, in, adapter_columns};
    return ml_weight_bytes(context, &d);
}

}  // namespace

TEST(embedding_matches_reference) {
    struct Shape { int64_t vocab, hidden, tokens; };
    for (const Shape &s : {Shape{1, 1, 1}, {7, 3, 5}, {33, 64, 100}, {100, 67, 1}, {50, 576, 300}, {17, 16, 0}}) {
        for (int32_t storage : {ML_F32, ML_BF16}) {
            Case shape(format("vocab %d, hidden %d, tokens %d, %s", int(s.vocab), int(s.hidden), int(s.tokens), storage == ML_F32 ? "f32" : "bf16"));
            Random random(static_cast<uint64_t>(s.vocab));
            const FrozenMatrix m(random, s.vocab, s.hidden, storage);
            std::vector<int32_t> ids(s.tokens);
            for (auto &id : ids) id = static_cast<int32_t>(random.below(s.vocab));
            if (!ids.empty()) ids.back() = static_cast<int32_t>(s.vocab - 1);
            std::vector<float> expected;
            for (int32_t id : ids) {
                for (int64_t c = 0; c < s.hidden; c++) expected.push_back(static_cast<float>(m.values[id * s.hidden + c]));
            }
            on_every_device([&](Device &device) {
                const Weight table(device, m);
                EXPECT_SAME_BITS("y", embed(device, table, s.hidden, ids), as_activations(expected));
            });
        }
    }
}

// float -> bf16 rounds to nearest even, also into infinity; NaN stays NaN; bf16 and f16 widen exactly.
TEST(weight_conversions) {
    const std::vector<float> special = {0.0f, -0.0f, 1.0f, -1.0f, 1.00390625f, 1.01171875f, 1.0039063f, 3.4028235e38f,
                                        1e-40f, INFINITY, -INFINITY, 65504.0f, 6e-8f, 0.1f, -1e30f, 123456.789f};
    const int64_t n = static_cast<int64_t>(special.size());
    on_every_device([&](Device &device) {
        const Weight f32(device, {special.data(), ML_F32, ML_F32, 1, n, 0});
        EXPECT_SAME_BITS("f32 in f32", embed(device, f32, n, {0}), as_activations(special));
        std::vector<float> rounded;
        for (float x : special) rounded.push_back(from_bf16(to_bf16(x)));
        const Weight bf16(device, {special.data(), ML_F32, ML_BF16, 1, n, 0});
        EXPECT_SAME_BITS("f32 in bf16", embed(device, bf16, n, {0}), rounded);
        const float nan = NAN;
        const Weight not_a_number(device, {&nan, ML_F32, ML_BF16, 1, 1, 0});
        EXPECT(std::isnan(embed(device, not_a_number, 1, {0})[0]));

        // Every bf16 there is, but NaNs.
        std::vector<uint16_t> bits;
        std::vector<float> values;
        for (uint32_t b = 0; b < 65536; b++) {
            if (std::isnan(from_bf16(static_cast<uint16_t>(b)))) continue;
            bits.push_back(static_cast<uint16_t>(b)), values.push_back(from_bf16(static_cast<uint16_t>(b)));
        }
        const int64_t all = static_cast<int64_t>(bits.size());
        for (int32_t storage : {ML_F32, ML_BF16}) {
            const Weight w(device, {bits.data(), ML_BF16, storage, 1, all, 0});
            EXPECT_SAME_BITS("bf16", embed(device, w, all, {0}), values);
        }
        // Every f16 there is, but NaNs: sign, 5 bits of exponent, 10 of fraction.
        bits.clear(), values.clear();
        for (uint32_t b = 0; b < 65536; b++) {
            const int exponent = static_cast<int>(b >> 10 & 31), fraction = static_cast<int>(b & 1023);
            if (exponent == 31 && fraction != 0) continue;
            double x = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
            if (exponent == 31) x = INFINITY;
            bits.push_back(static_cast<uint16_t>(b)), values.push_back(static_cast<float>(b >> 15 ? -x : x));
        }
        const int64_t halves = static_cast<int64_t>(bits.size());
        const Weight f16(device, {bits.data(), ML_F16, ML_F32, 1, halves, 0});
        EXPECT_SAME_BITS("f16 in f32", embed(device, f16, halves, {0}), as_activations(values));
        for (float &x : values) x = from_bf16(to_bf16(x));
        const Weight f16_bf16(device, {bits.data(), ML_F16, ML_BF16, 1, halves, 0});
        EXPECT_SAME_BITS("f16 in bf16", embed(device, f16_bf16, halves, {0}), values);
    });
}

// The source may lie at any address and is not kept.
TEST(weight_source_alignment_and_lifetime) {
    Random random(2);
    const auto values = random.normal(5 * 9);
    std::vector<char> bytes(values.size() * 4 + 1);
    std::memcpy(bytes.data() + 1, values.data(), values.size() * 4);
    on_every_device([&](Device &device) {
        std::vector<char> source = bytes;
        const Weight w(device, {source.data() + 1, ML_F32, ML_F32, 5, 9, 0});
        std::fill(source.begin(), source.end(), 0);
        const auto read = embed(device, w, 9, all_rows(5));
        for (int row = 0; row < 5; row++) {
            for (int c = 0; c < 9; c++) EXPECT(read[(4 - row) * 9 + c] == values[row * 9 + c]);
        }
    });
}

// Several matrices one below the other, written in any order, in pieces that begin anywhere; what is not written is zero.
TEST(weights_are_written_by_rows) {
    Random random(8);
    const int64_t in = 21, out = 70;
    const auto values = random.normal(out * in);
    on_every_device([&](Device &device) {
        for (int32_t storage : {ML_F32, ML_BF16}) {
            const Weight w(device, {nullptr, ML_F32, storage, out, in, 24});
            for (auto [first, last] : {std::pair<int64_t, int64_t>{33, 70}, {0, 16}, {17, 33}}) {
                const ml_weight_desc piece{values.data() + first * in, ML_F32, storage, last - first, in, 0};
                EXPECT_OK(ml_weight_write(device, w, first, &piece));
            }
            const auto read = embed(device, w, in, all_rows(out));
            for (int64_t row = 0; row < out; row++) {
                for (int64_t c = 0; c < in; c++) {
                    const float value = values[row * in + c], stored = storage == ML_BF16 ? from_bf16(to_bf16(value)) : value;
                    EXPECT(read[(out - 1 - row) * in + c] == (row == 16 ? 0 : as_activation(stored)));
                }
            }
            const ml_weight_desc good{values.data(), ML_F32, storage, 3, in, 0};
            ml_weight_desc bad = good;
            EXPECT_INVALID(ml_weight_write(device, w, -1, &good), "first");
            EXPECT_INVALID(ml_weight_write(device, w, 68, &good), "first");
            EXPECT_INVALID(ml_weight_write(device, nullptr, 0, &good), "weight");
            EXPECT_INVALID(ml_weight_write(device, w, 0, nullptr), "desc");
            bad.data = nullptr;
            EXPECT_INVALID(ml_weight_write(device, w, 0, &bad), "data");
            bad = good, bad.in_features = 20;
            EXPECT_INVALID(ml_weight_write(device, w, 0, &bad), "in_features");
            bad = good, bad.out_features = 71;
            EXPECT_INVALID(ml_weight_write(device, w, 0, &bad), "out_features");
            bad = good, bad.storage_dtype = storage == ML_F32 ? ML_BF16 : ML_F32;
            EXPECT_INVALID(ml_weight_write(device, w, 0, &bad), "storage_dtype");
        }
    });
}

TEST(weight_memory_is_accounted) {
    Random random(1);
    on_every_device([&](Device &device) {
        for (int32_t storage : {ML_F32, ML_BF16}) {
            const int64_t bytes = bytes_of(device, storage, 70, 30);
            EXPECT(bytes >= 70 * 30 * (storage == ML_F32 ? 4 : 2));
            EXPECT(bytes_of(device, storage, 70, 30, 200) >= bytes);
            ml_context_info before{}, during{}, after{};
            EXPECT_OK(ml_context_get_info(device, &before));
            {
                const Weight w(device, FrozenMatrix(random, 70, 30, storage));
                EXPECT_OK(ml_context_get_info(device, &during));
            }
            EXPECT_OK(ml_context_get_info(device, &after));
            EXPECT(during.memory_in_use - before.memory_in_use >= bytes);
            EXPECT(after.memory_in_use <= during.memory_in_use - bytes);
        }
    });
}

TEST(embedding_and_weights_reject_bad_arguments) {
    Device device(setups().front());
    Random random(6);
    const std::vector<float> values = random.normal(12);
    ml_weight_desc good{values.data(), ML_F32, ML_F32, 3, 4, 0};
    ml_weight *w = nullptr;
    EXPECT_INVALID(ml_weight_create(device, nullptr, &w), "desc");
    EXPECT_INVALID(ml_weight_create(device, &good, nullptr), "weight");
    EXPECT_INVALID(ml_weight_create(nullptr, &good, &w), "context");
    using Desc = ml_weight_desc;
    const std::vector<std::pair<const char *, void (*)(Desc &)>> spoils = {
        {"adapter_columns", [](Desc &d) { d.adapter_columns = -1; }},
        {"source_dtype", [](Desc &d) { d.source_dtype = 3; }},
        {"source_dtype", [](Desc &d) { d.source_dtype = -1; }},
        {"storage_dtype", [](Desc &d) { d.storage_dtype = ML_F16; }},
        {"storage_dtype", [](Desc &d) { d.storage_dtype = 17; }},
        {"out_features", [](Desc &d) { d.out_features = 0; }},
        {"out_features", [](Desc &d) { d.out_features = -5; }},
        {"out_features", [](Desc &d) { d.out_features = INT64_MAX; }},
        {"in_features", [](Desc &d) { d.in_features = 0; }},
        {"in_features", [](Desc &d) { d.in_features = INT64_MAX / 2; }},
    };
    for (auto &[field, spoil] : spoils) {
        Case name(field);
        Desc bad = good;
        spoil(bad);
        EXPECT_INVALID(ml_weight_create(device, &bad, &w), field);
        EXPECT(w == nullptr);
    }
    EXPECT(bytes_of(device, ML_F32, -1, 4) < 0);
    EXPECT(bytes_of(device, 9, 3, 4) < 0);
    EXPECT(bytes_of(nullptr, ML_F32, 3, 4) < 0);
    EXPECT(ml_weight_bytes(device, nullptr) < 0);

    EXPECT_OK(ml_weight_create(device, &good, &w));
    Buffer<int32_t> ids(device, {0, 2}), high(device, {0, 3}), negative(device, {-1, 0});
    Activations y(device, 8);
    ml_embedding_desc d{w, ids, y, 2};
    EXPECT_OK(ml_embedding_forward(device, &d));
    EXPECT_INVALID(ml_embedding_forward(device, nullptr), "desc");
    d.ids = high;
    EXPECT_INVALID(ml_embedding_forward(device, &d), "ids");
    d.ids = negative;
    EXPECT_INVALID(ml_embedding_forward(device, &d), "ids");
    d.ids = nullptr;
    EXPECT_INVALID(ml_embedding_forward(device, &d), "ids");
    d = {w, ids, nullptr, 2};
    EXPECT_INVALID(ml_embedding_forward(device, &d), "y");
    d = {w, ids, y, -2};
    EXPECT_INVALID(ml_embedding_forward(device, &d), "tokens");
    d = {nullptr, ids, y, 2};
    EXPECT_INVALID(ml_embedding_forward(device, &d), "table");
    {
        Device other(setups().front());
        EXPECT_INVALID(ml_embedding_forward(other, &(d = {w, ids, y, 2})), "table");
        EXPECT_INVALID(ml_weight_destroy(other, w), "weight");
    }
    EXPECT_OK(ml_weight_destroy(device, w));
    EXPECT_INVALID(ml_weight_destroy(device, w), "weight");
    EXPECT_INVALID(ml_embedding_forward(device, &(d = {w, ids, y, 2})), "table");
    EXPECT_OK(ml_weight_destroy(device, nullptr));
}
