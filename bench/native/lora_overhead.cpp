// What LoRA costs over the frozen product alone, forward and backward (dx, dA, dB over dx), at SmolLM2-135M's shapes, rank 8: both
// take turns in one process, over copies of the weight that exceed the last cache.
//   c++ -O2 -std=c++17 -Inative/include bench/native/lora_overhead.cpp libmetalora.so -Wl,-rpath,FOLDER -o build/lora_overhead
//   build/lora_overhead ISA fp32|bf16 THREADS
#include <metalora.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace {

void check(int32_t status) {
    if (status == ML_OK) return;
    std::fprintf(stderr, "%s\n", ml_last_error());
    std::exit(1);
}

double median(std::vector<double> &values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

constexpr int64_t kRank = 8;

struct Bench {
    ml_context *context = nullptr;
    std::mt19937 random{1};
    bool bf16;

    std::vector<float> normal(int64_t count) {
        std::normal_distribution<float> of;
        std::vector<float> values(static_cast<size_t>(count));
        for (float &value : values) value = 0.1f * of(random);
        return values;
    }
    float *floats(int64_t count) {
        void *memory = nullptr;
        check(ml_alloc(context, count * 4, &memory));
        const auto values = normal(count);
        check(ml_upload(context, memory, values.data(), count * 4));
        return static_cast<float *>(memory);
    }

    // Medians of the frozen product and of all of it, forward or backward.
    void measure(int64_t out, int64_t in, int64_t rows, int32_t slots, bool backward) {
        const auto w = normal(out * in);
        const ml_weight_desc desc = {w.data(), ML_F32, bf16 ? ML_BF16 : ML_F32, out, in, 0};
        std::vector<ml_weight *> weights(static_cast<size_t>(std::max<int64_t>(2, (int64_t(96) << 20) / (out * in * 4))));
        for (auto &weight : weights) check(ml_weight_create(context, &desc, &weight));
        const int64_t stride = kRank * (in + out);
        std::vector<int32_t> offsets;
        for (int32_t s = 0; s <= slots; s++) offsets.push_back(static_cast<int32_t>(rows * s / slots));
        float *x = floats(rows * in), *y = floats(rows * out), *h = floats(rows * kRank), *dx = floats(rows * in);
        float *adapters = floats(slots * stride), *gradients = floats(slots * stride), *at = floats(slots + 1);
        check(ml_upload(context, at, offsets.data(), int64_t(offsets.size()) * 4));
        ml_lora_linear_desc frozen{};
        frozen.tokens = rows, frozen.x = x, frozen.y = y, frozen.dy = y, frozen.dx = dx;
        ml_lora_linear_desc lora = frozen;
        lora.h = h, lora.slot_offsets = reinterpret_cast<int32_t *>(at), lora.slots = slots, lora.slot_stride = stride, lora.rank = kRank;
        lora.terms = 1, lora.scale = 2;
        lora.term[0] = {adapters, adapters + kRank * in, gradients, gradients + kRank * in, 0, out, 0};
        std::vector<double> seconds[2];
        double spent = 0;
        size_t next = 0;
        for (int turn = 0; seconds[0].size() < 15 || (spent < 0.6 && seconds[0].size() < 1000); turn++) {
            for (int which : {turn % 2, 1 - turn % 2}) {
                ml_lora_linear_desc &d = which == 0 ? frozen : lora;
                d.w = weights[next++ % weights.size()];
                const auto start = std::chrono::steady_clock::now();
                check(backward ? ml_lora_linear_backward(context, &d) : ml_lora_linear_forward(context, &d));
                seconds[which].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
                spent += seconds[which].back();
            }
        }
        for (auto *weight : weights) check(ml_weight_destroy(context, weight));
        for (float *memory : {x, y, h, dx, adapters, gradients, at}) check(ml_free(context, memory));
        const double alone = median(seconds[0]), all = median(seconds[1]);
        std::printf("| %s | %d x %d | %d | %d | %.3f | %.3f | %.2f |\n", backward ? "backward" : "forward", int(out), int(in), int(rows),
                    int(slots), 1e3 * alone, 1e3 * all, all / alone);
        std::fflush(stdout);
    }
};

}  // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: lora_overhead portable|avx2|avx512 fp32|bf16 THREADS\n");
        return 1;
    }
    Bench bench;
    bench.bf16 = std::string(argv[2]) == "bf16";
    ml_context_options options{};
    options.isa = argv[1];
    options.arithmetic = bench.bf16 ? ML_BF16 : ML_F32;
    options.threads = std::atoi(argv[3]);
    check(ml_context_create(&options, &bench.context));
    std::printf("\n%s, %s, %s threads; ms, medians\n\n", argv[1], argv[2], argv[3]);
    std::printf("| | out x in | rows | slots | frozen alone | with LoRA | ratio |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |\n");
    const int64_t shapes[][2] = {{576, 576}, {1536, 576}, {576, 1536}};
    for (bool backward : {false, true}) {
        for (auto [out, in] : shapes) {
            for (int64_t rows : {256, 1024}) {
                for (int32_t slots : {1, 4}) bench.measure(out, in, rows, slots, backward);
            }
        }
    }
    check(ml_context_destroy(bench.context));
}
