// Library, contexts, memory: life cycle, accounting, misuse.
#include <atomic>
#include <set>
#include <chrono>
#include <fstream>
#include <thread>

#include "harness.h"

using namespace test;

// The one a CPU context takes by itself: AVX-512 on AMD's Zen 5 alone (/proc/cpuinfo names the family), elsewhere AVX2.
static std::string fastest_isa() {
    std::string widest = setups().back().isa, family, vendor;
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("cpu family", 0) == 0) family = line.substr(line.find(": ") + 2);
        if (line.rfind("vendor_id", 0) == 0) vendor = line.substr(line.find(": ") + 2);
    }
    return widest == "avx512" && !(vendor == "AuthenticAMD" && family == "26") ? "avx2" : widest;
}

TEST(library_describes_itself) {
    EXPECT(ml_abi_version() == ML_ABI_VERSION);
    int major, minor, patch;
    EXPECT(std::sscanf(ml_version(), "%d.%d.%d", &major, &minor, &patch) == 3);
    EXPECT(std::string(ml_status_name(ML_OK)) == "ML_OK");
    EXPECT(std::string(ml_status_name(ML_OUT_OF_MEMORY)) == "ML_OUT_OF_MEMORY");
    EXPECT(std::string(ml_status_name(ML_INTERNAL)) == "ML_INTERNAL");
    EXPECT(ml_status_name(4711) != nullptr && ml_status_name(-1) != nullptr);
    EXPECT_OK(ml_backend_probe(ML_BACKEND_CPU));
    EXPECT_INVALID(ml_backend_probe(99), "backend");
    const int32_t cuda = ml_backend_probe(ML_BACKEND_CUDA);
    EXPECT(cuda == ML_OK || (cuda == ML_BACKEND_UNAVAILABLE && *ml_last_error() != 0));
}

TEST(last_error_belongs_to_its_thread) {
    EXPECT_INVALID(ml_fill(nullptr, nullptr, 0, 0), "ml_fill");
    std::string other = "unset";
    std::thread([&] { other = ml_last_error(); }).join();
    EXPECT(other.empty());
    EXPECT(std::strstr(ml_last_error(), "ml_fill") != nullptr);
}

TEST(context_says_what_bf16_arithmetic_runs_on) {
    for (Setup setup : setups()) {
        setup.arithmetic = ML_BF16;
        Device device(setup);
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(device, &info));
#if defined(__x86_64__)
        const bool has_pairs = setup.isa == "avx512" && __builtin_cpu_supports("avx512bf16");
#else
        const bool has_pairs = false;
#endif
        EXPECT(std::strstr(info.blas, has_pairs ? "bf16 products by AVX512_BF16" : "bf16 products in fp32") != nullptr);
        EXPECT(info.capabilities == (has_pairs ? ML_GAINS_BY_BF16 : 0));
    }
}

TEST(context_options) {
    for (auto &setup : setups()) {
        Device device(setup);
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(device, &info));
        EXPECT(info.backend == ML_BACKEND_CPU);
        EXPECT(info.threads == setup.threads);
        EXPECT(info.activation_dtype == ML_F32);
        EXPECT(info.isa == setup.isa);
        EXPECT(info.memory_total > 0 && *info.device_name != 0);
        EXPECT_OK(ml_synchronize(device));
    }
    ml_context *context = nullptr;
    ml_context_options options{};
    EXPECT_OK(ml_context_create(&options, &context));  // all defaults
    ml_context_info info{};
    EXPECT_OK(ml_context_get_info(context, &info));
    EXPECT(info.threads >= 1 && info.isa == fastest_isa());
    EXPECT(*info.isa_reason != 0 && std::strcmp(info.isa_reason, "it was asked for") != 0);
    EXPECT_OK(ml_context_destroy(context));
    options.activation_dtype = ML_ACTIVATIONS_DEFAULT;
    EXPECT_OK(ml_context_create(&options, &context));
    EXPECT_OK(ml_context_get_info(context, &info));
    EXPECT(info.activation_dtype == ML_F32);
    EXPECT_OK(ml_context_destroy(context));
    options = {};
    options.isa = "portable";
    EXPECT_OK(ml_context_create(&options, &context));
    EXPECT_OK(ml_context_get_info(context, &info));
    EXPECT(std::strcmp(info.isa, "portable") == 0 && std::strcmp(info.isa_reason, "it was asked for") == 0);
    options = {};
    EXPECT_INVALID(ml_context_get_info(context, nullptr), "info");
    EXPECT_OK(ml_context_destroy(context));

    EXPECT_INVALID(ml_context_create(nullptr, &context), "options");
    EXPECT_INVALID(ml_context_create(&options, nullptr), "context");
    options.threads = -1;
    EXPECT_INVALID(ml_context_create(&options, &context), "threads");
    EXPECT(context == nullptr);
    options.threads = 1 << 30;
    EXPECT_INVALID(ml_context_create(&options, &context), "threads");
    options = {};
    options.isa = "altivec";
    EXPECT_INVALID(ml_context_create(&options, &context), "isa");
    options = {};
    options.arithmetic = ML_F16;
    EXPECT_INVALID(ml_context_create(&options, &context), "arithmetic");
    options = {};
    options.backend = 7;
    EXPECT_INVALID(ml_context_create(&options, &context), "backend");
    EXPECT_INVALID(ml_context_get_info(nullptr, &info), "context");
    EXPECT_INVALID(ml_synchronize(nullptr), "context");
    EXPECT_OK(ml_context_destroy(nullptr));
}

TEST(memory_is_aligned_zeroed_distinct_and_accounted) {
    on_every_device([&](Device &device) {
        ml_context_info before{}, during{}, after{};
        EXPECT_OK(ml_context_get_info(device, &before));
        std::vector<void *> pointers;
        std::set<void *> distinct;
        for (int64_t bytes : {0, 0, 1, 63, 64, 65, 1000003}) {
            void *pointer = nullptr;
            EXPECT_OK(ml_alloc(device, bytes, &pointer));
            EXPECT(pointer != nullptr && reinterpret_cast<uintptr_t>(pointer) % 64 == 0);
            std::vector<char> content(static_cast<size_t>(bytes), 1);
            EXPECT_OK(ml_download(device, content.data(), pointer, bytes));
            for (char c : content) if (c != 0) { fail(__FILE__, __LINE__, "not zeroed"); break; }
            pointers.push_back(pointer), distinct.insert(pointer);
        }
        EXPECT(distinct.size() == pointers.size());
        EXPECT_OK(ml_context_get_info(device, &during));
        EXPECT(during.memory_in_use - before.memory_in_use >= 1000003 + 65 + 64 + 63 + 1);
        EXPECT(during.memory_peak >= during.memory_in_use);
        for (void *pointer : pointers) EXPECT_OK(ml_free(device, pointer));
        EXPECT_OK(ml_context_get_info(device, &after));
        EXPECT(after.memory_in_use == before.memory_in_use);
        EXPECT(after.memory_peak >= during.memory_in_use);
    });
}

TEST(copies) {
    Device device(setups().back());
    Random random(1);
    const auto values = random.normal(1001);
    Buffer<float> a(device, values), b(device, values.size());
    EXPECT_OK(ml_copy(device, b, a, 4004));
    EXPECT_SAME_BITS("copy", b.read(), values);
    EXPECT_OK(ml_copy(device, b.at(500), a, 4));  // into the middle of a buffer
    EXPECT(b.read()[500] == values[0] && b.read()[501] == values[501]);
    EXPECT_OK(ml_copy(device, b, a, 0));
    // Rows, closer together than they were.
    Buffer<float> rows(device, std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), dense(device, 6);
    EXPECT_OK(ml_copy_rows(device, dense, 8, rows.at(1), 16, 8, 3));
    EXPECT_SAME_BITS("rows", dense.read(), (std::vector<float>{1, 2, 5, 6, 9, 10}));
    EXPECT_OK(ml_copy_rows(device, nullptr, 8, nullptr, 8, 8, 0));
    EXPECT_INVALID(ml_copy_rows(device, dense, 7, rows, 16, 8, 2), "to_stride");
    EXPECT_INVALID(ml_copy_rows(device, dense, 8, rows, 4, 8, 2), "from_stride");
    EXPECT_INVALID(ml_copy_rows(device, dense, 8, rows, 16, 8, -1), "rows");
    EXPECT_INVALID(ml_copy_rows(device, dense, 8, rows, 1 << 20, 8, 2), "from");
    EXPECT_INVALID(ml_copy_rows(device, dense, 1 << 20, rows, 16, 8, 2), "to");
}

TEST(memory_misuse_is_an_error_and_no_crash) {
    Device device(setups().front()), other(setups().front());
    void *pointer = nullptr;
    EXPECT_INVALID(ml_alloc(device, -1, &pointer), "bytes");
    EXPECT_INVALID(ml_alloc(device, 8, nullptr), "pointer");
    EXPECT_INVALID(ml_alloc(nullptr, 8, &pointer), "context");
    EXPECT_STATUS(ml_alloc(device, INT64_MAX, &pointer), ML_OUT_OF_MEMORY, "");
    EXPECT(pointer == nullptr);
    EXPECT_OK(ml_alloc(device, 100, &pointer));
    char host[200] = {};
    EXPECT_INVALID(ml_upload(device, pointer, nullptr, 10), "host");
    EXPECT_INVALID(ml_upload(device, pointer, host, -1), "bytes");
    EXPECT_INVALID(ml_upload(device, pointer, host, 101), "device");
    EXPECT_INVALID(ml_upload(device, host, host, 10), "device");
    EXPECT_INVALID(ml_upload(device, nullptr, host, 10), "device");
    EXPECT_INVALID(ml_download(device, nullptr, pointer, 10), "host");
    EXPECT_INVALID(ml_download(device, host, static_cast<char *>(pointer) + 99, 2), "device");
    EXPECT_INVALID(ml_copy(device, pointer, host, 10), "from");
    EXPECT_INVALID(ml_copy(device, host, pointer, 10), "to");
    EXPECT_INVALID(ml_upload(other, pointer, host, 10), "device");  // another context's
    EXPECT_INVALID(ml_free(other, pointer), "pointer");
    EXPECT_INVALID(ml_free(device, static_cast<char *>(pointer) + 1), "pointer");
    EXPECT_INVALID(ml_free(device, host), "pointer");
    EXPECT_OK(ml_free(device, pointer));
    EXPECT_INVALID(ml_free(device, pointer), "pointer");  // twice
    EXPECT_INVALID(ml_upload(device, pointer, host, 10), "device");
    EXPECT_OK(ml_free(device, nullptr));
}

TEST(context_with_live_buffers_is_not_destroyed) {
    ml_context_options options{};
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    void *pointer = nullptr;
    EXPECT_OK(ml_alloc(context, 10, &pointer));
    EXPECT_INVALID(ml_context_destroy(context), "live");
    EXPECT_OK(ml_free(context, pointer));
    EXPECT_OK(ml_context_destroy(context));
}

// Two threads on one context: every call either succeeds or gives ML_BUSY, and both happen.
TEST(a_second_thread_is_told_that_the_context_is_busy) {
    Device device(setups().back());
    Buffer<float> x(device, 1 << 22);
    std::atomic<bool> stop{false};
    std::atomic<int> busy{0}, wrong{0}, done{0};
    std::thread second([&] {
        while (!stop) {
            const int32_t status = ml_fill(device, x, 16, 3);
            if (status == ML_BUSY) busy++;
            else if (status == ML_OK) done++;
            else wrong++;
        }
    });
    int own = 0;
    // Bounded by time: a thread that loses its core inside a call leaves the other at ML_BUSY for a while.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while ((busy == 0 || done == 0 || own == 0) && std::chrono::steady_clock::now() < deadline) {
        const int32_t status = ml_fill(device, x, 1 << 22, 2);
        if (status == ML_OK) own++;
        else if (status != ML_BUSY) wrong++;
    }
    stop = true;
    second.join();
    EXPECT(busy > 0 && done > 0 && own > 0 && wrong == 0);
    EXPECT_OK(ml_fill(device, x, 1 << 22, 1));
    EXPECT_SAME_BITS("after the quarrel", x.read(), std::vector<float>(1 << 22, 1.0f));
}

// Contexts are independent of each other, also when each runs in a thread of its own.
TEST(contexts_run_side_by_side) {
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < 3; i++) {
        threads.emplace_back([&right, i] {
            ml_context_options options{};
            options.threads = 2;
            ml_context *context = nullptr;
            void *pointer = nullptr;
            bool ok = ml_context_create(&options, &context) == ML_OK && ml_alloc(context, 400000, &pointer) == ML_OK;
            for (int again = 0; again < 50 && ok; again++) {
                ok = ml_fill(context, static_cast<float *>(pointer), 100000, static_cast<float>(i + again)) == ML_OK;
                float last = 0;
                ok = ok && ml_download(context, &last, static_cast<float *>(pointer) + 99999, 4) == ML_OK && last == static_cast<float>(i + again);
            }
            ok = ok && ml_free(context, pointer) == ML_OK && ml_context_destroy(context) == ML_OK;
            right += ok;
        });
    }
    for (auto &thread : threads) thread.join();
    EXPECT(right == 3);
}
