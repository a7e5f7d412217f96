// The CUDA backend as a whole: devices and threads, errors that leave nothing behind, the choice between forms of a product.
#include <thread>

#include "harness.h"

using namespace test;

namespace {

// A LoRA linear of random contents, and what it should give.
struct Linear {
    static constexpr int64_t kTokens = 24, kIn = 32, kOut = 40, kRank = 8, kSequences = 40;  // all but the first one are empty
    explicit Linear(ml_context *c) : context(c) {
        Random random(3);
        auto make = [&](const std::vector<float> &values) {
            void *memory = nullptr;
            EXPECT_OK(ml_alloc(c, static_cast<int64_t>(values.size() * 4), &memory));
            EXPECT_OK(ml_upload(c, memory, values.data(), static_cast<int64_t>(values.size() * 4)));
            buffers.push_back(memory);
            return static_cast<float *>(memory);
        };
        const std::vector<float> w = random.normal(kOut * kIn), x = random.normal(kTokens * kIn);
        std::vector<int32_t> offsets(kSequences + 1, kTokens);
        offsets[0] = 0;
        ml_weight_desc desc{w.data(), ML_F32, ML_F32, kOut, kIn, 0};
        EXPECT_OK(ml_weight_create(c, &desc, &weight));
        d.x = make(x), d.w = weight, d.y = make(std::vector<float>(kTokens * kOut)), d.h = make(std::vector<float>(kTokens * kRank));
        d.term[0] = {make(random.normal(kRank * kIn)), make(random.normal(kOut * kRank)), nullptr, nullptr, 0, kOut, 0}, d.terms = 1;
        void *slots = make(std::vector<float>(offsets.size()));
        EXPECT_OK(ml_upload(c, slots, offsets.data(), static_cast<int64_t>(offsets.size() * 4)));
        d.slot_offsets = static_cast<const int32_t *>(slots), d.tokens = kTokens, d.slots = 1, d.rank = kRank, d.scale = 1;
        d.slot_stride = kRank * (kIn + kOut);
    }
    ~Linear() {
        for (void *memory : buffers) EXPECT_OK(ml_free(context, memory));
        EXPECT_OK(ml_weight_destroy(context, weight));
    }
    std::vector<float> run() {
        std::vector<float> y(kTokens * kOut);
        EXPECT_OK(ml_lora_linear_forward(context, &d));
        EXPECT_OK(ml_download(context, y.data(), d.y, static_cast<int64_t>(y.size() * 4)));
        return y;
    }
    ml_context *context;
    ml_weight *weight = nullptr;
    std::vector<void *> buffers;
    ml_lora_linear_desc d{};
};

ml_context *open(int32_t device, int32_t dtype = ML_F32, int32_t matmul = ML_MATMUL_MEASURED) {
    ml_context_options options{};
    options.backend = ML_BACKEND_CUDA, options.device = device, options.activation_dtype = dtype, options.matmul = matmul;
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    return context;
}

}  // namespace

// A context's calls go to its device, whichever thread makes them, in whatever order contexts of several devices are used.
TEST(contexts_keep_to_their_devices) {
    if (standin("hostcuda_set_order") == nullptr) return;  // two devices are not everywhere
    ml_context *contexts[2] = {open(0), open(1)};
    {
        Linear first(contexts[0]), second(contexts[1]);
        const std::vector<float> here = first.run();
        std::vector<float> there, elsewhere;
        std::thread([&] { there = second.run(), elsewhere = first.run(); }).join();
        EXPECT_SAME_BITS("on another device", here, there);
        EXPECT_SAME_BITS("on another thread", here, elsewhere);
        EXPECT_SAME_BITS("in turn", here, second.run());
    }
    std::thread([&] { EXPECT_OK(ml_context_destroy(contexts[1])); }).join();
    EXPECT_OK(ml_context_destroy(contexts[0]));
    ml_context_options options{};
    options.backend = ML_BACKEND_CUDA, options.device = 1000;
    ml_context *none = nullptr;
    EXPECT_INVALID(ml_context_create(&options, &none), "device");
    EXPECT(none == nullptr);
}

TEST(capabilities_are_told) {
    for (int32_t dtype : {int32_t{ML_F32}, int32_t{ML_BF16}, int32_t{ML_ACTIVATIONS_DEFAULT}}) {
        ml_context *context = open(0, dtype);
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(context, &info));
        EXPECT(info.activation_dtype == (dtype == ML_F32 ? ML_F32 : ML_BF16));
        EXPECT(info.capabilities == (ML_CAN_RECORD | ML_GAINS_BY_STACKING | ML_HAS_OWN_MEMORY | ML_GAINS_BY_BF16
                                      | (dtype == ML_F32 ? 0 : ML_GAINS_BY_ADAPTER_ROOM)));
        EXPECT_OK(ml_context_destroy(context));
    }
}

// An error belongs to the call that met it.
TEST(errors_leave_nothing_behind) {
    ml_context *context = open(0);
    {
        Linear linear(context);
        const std::vector<float> before = linear.run();
        ml_attention_desc attention{};
        attention.q = attention.k = attention.v = linear.d.x, attention.o = linear.d.y;
        attention.q_offsets = linear.d.slot_offsets, attention.tokens = Linear::kTokens, attention.sequences = Linear::kSequences;
        attention.heads = attention.kv_heads = 1, attention.head_dim = 32, attention.scale = 1, attention.max_length = 0x7FFFFFFF;
        EXPECT_STATUS(ml_attention_forward(context, &attention), ML_INTERNAL, "max_length 2147483647");  // more blocks than there can be
        EXPECT_SAME_BITS("after a launch that failed", before, linear.run());
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(context, &info));
        void *memory = nullptr;
        EXPECT(info.memory_free > 0 && info.memory_free <= info.memory_total - info.memory_in_use);
        EXPECT_STATUS(ml_alloc(context, info.memory_total, &memory), ML_OUT_OF_MEMORY, "bytes");
        EXPECT_SAME_BITS("after an allocation that failed", before, linear.run());
        auto *y = static_cast<float *>(linear.d.y);  // its first column to the rows of h
        EXPECT_OK(ml_copy_rows(context, linear.d.h, 4, y, Linear::kOut * 4, 4, Linear::kTokens));
        std::vector<float> column(Linear::kTokens);
        EXPECT_OK(ml_download(context, column.data(), linear.d.h, Linear::kTokens * 4));
        for (int64_t t = 0; t < Linear::kTokens; t++) EXPECT(column[t] == before[t * Linear::kOut]);
    }
    EXPECT_OK(ml_context_destroy(context));
}

// With room behind x's rows, the library's form puts the adapters' columns there: it holds no copy of them.
TEST(spare_columns_save_the_copy) {
    constexpr int64_t kTokens = 4096, kWidth = 128, kRank = 8, kSpare = 8;
    int64_t held[2] = {};
    for (int64_t spare : {int64_t(0), kSpare}) {
        ml_context *context = open(0, ML_BF16, ML_MATMUL_CUBLASLT);
        auto make = [&](int64_t bytes) {
            void *memory = nullptr;
            EXPECT_OK(ml_alloc(context, bytes, &memory));
            return memory;
        };
        const int64_t stride = kWidth + kSpare;
        const std::vector<float> w(kWidth * kWidth, 0.5f);
        const ml_weight_desc desc{w.data(), ML_F32, ML_BF16, kWidth, kWidth, kSpare};
        ml_weight *weight = nullptr;
        EXPECT_OK(ml_weight_create(context, &desc, &weight));
        void *rows[2] = {make(kTokens * stride * 2), make(kTokens * stride * 2)};
        auto *h = static_cast<float *>(make(kTokens * kRank * 4)), *adapter = static_cast<float *>(make(2 * kRank * kWidth * 4));
        auto *offsets = static_cast<int32_t *>(make(8));
        const int32_t bounds[] = {0, kTokens};
        EXPECT_OK(ml_upload(context, offsets, bounds, 8));
        ml_lora_linear_desc d{};
        d.x = rows[0], d.y = rows[1], d.w = weight, d.h = h, d.slot_offsets = offsets, d.tokens = kTokens, d.slots = 1;
        d.rank = kRank, d.scale = 1, d.x_stride = d.y_stride = stride, d.spare = spare;
        d.term[0] = {adapter, adapter + kRank * kWidth, nullptr, nullptr, 0, kWidth, 0}, d.terms = 1;
        ml_context_info before{}, after{};
        EXPECT_OK(ml_context_get_info(context, &before));
        EXPECT_OK(ml_lora_linear_forward(context, &d));
        EXPECT_OK(ml_context_get_info(context, &after));
        held[spare != 0] = after.memory_in_use - before.memory_in_use;
        for (void *memory : {rows[0], rows[1], static_cast<void *>(h), static_cast<void *>(adapter), static_cast<void *>(offsets)}) {
            EXPECT_OK(ml_free(context, memory));
        }
        EXPECT_OK(ml_weight_destroy(context, weight));
        EXPECT_OK(ml_context_destroy(context));
    }
    EXPECT(held[0] - held[1] >= kTokens * kWidth * 2);
}

// Where cuBLASLt has no kernel for a shape, measuring finds our own; asked for by name it is an error.
TEST(products_without_a_library_kernel_are_our_own) {
    void *refuse = standin("hostcuda_library_refuses");
    if (refuse == nullptr) return;
    auto set = reinterpret_cast<void (*)(bool)>(refuse);
    for (int32_t matmul : {ML_MATMUL_OWN, ML_MATMUL_MEASURED, ML_MATMUL_CUBLASLT}) {
        Case name(format("matmul %d", matmul));
        ml_context *context = open(0, ML_BF16, matmul);
        const std::vector<float> w(64 * 64, 0.5f);
        const ml_weight_desc desc{w.data(), ML_F32, ML_BF16, 64, 64, 0};
        ml_weight *weight = nullptr;
        EXPECT_OK(ml_weight_create(context, &desc, &weight));
        void *x = nullptr, *y = nullptr;
        EXPECT_OK(ml_alloc(context, 64 * 64 * 2, &x));
        EXPECT_OK(ml_alloc(context, 64 * 64 * 2, &y));
        const std::vector<uint16_t> ones(64 * 64, to_bf16(1));
        EXPECT_OK(ml_upload(context, x, ones.data(), 64 * 64 * 2));
        ml_lora_linear_desc d{};
        d.x = x, d.w = weight, d.y = y, d.tokens = 64;
        set(true);
        if (matmul == ML_MATMUL_CUBLASLT) {
            EXPECT_STATUS(ml_lora_linear_forward(context, &d), ML_INTERNAL, "not supported");
        } else {
            EXPECT_OK(ml_lora_linear_forward(context, &d));
            std::vector<uint16_t> result(64 * 64);
            EXPECT_OK(ml_download(context, result.data(), y, 64 * 64 * 2));
            EXPECT(result == std::vector<uint16_t>(64 * 64, to_bf16(32)));
        }
        set(false);
        EXPECT_OK(ml_lora_linear_forward(context, &d));
        EXPECT_OK(ml_free(context, x));
        EXPECT_OK(ml_free(context, y));
        EXPECT_OK(ml_weight_destroy(context, weight));
        EXPECT_OK(ml_context_destroy(context));
    }
}
