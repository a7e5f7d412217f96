// What stands in for cuBLASLt: the product in float, rounded once.
#include "cuda/library.h"

namespace metalora {
namespace cuda {

namespace {

bool refuses = false;

class Loops final : public Library {
public:
    std::string name() const override { return "loops in cuBLASLt's place"; }
    int algorithms(const Product &, bool) override { return refuses ? 0 : kAlgorithms; }
    cudaError_t product(const Product &p, const bf16 *bias, int algorithm, cudaStream_t stream) override {
        const bool can = p.factors == 1 && !p.factor[0].by_slot && p.part == 0 && p.rounded.data == nullptr && (p.bias == nullptr) == (bias == nullptr);
        return can && !refuses && algorithm < kAlgorithms ? hostcuda::queue(stream, [p, bias] { run(p, bias); }) : hostcuda::failed(cudaErrorNotSupported);
    }
    void forget_problem() override {}
    const char *problem() const override { return refuses ? "the loops refuse" : ""; }

private:
    static constexpr int kAlgorithms = 2;  // which are the same
    static void run(const Product &p, const bf16 *bias) {
        const Factor &f = p.factor[0];
        const auto *left = static_cast<const bf16 *>(f.left.data), *right = static_cast<const bf16 *>(f.right.data);
        const bool half = p.out_dtype == ML_BF16;
        for (int64_t i = 0; i < p.m; i++) {
            for (int64_t j = 0; j < p.n; j++) {
                float sum = 0;
                for (int64_t k = 0; k < f.k; k++) {
                    sum += to_float(left[i * f.left.row_stride + k * f.left.k_stride]) * to_float(right[j * f.right.row_stride + k * f.right.k_stride]);
                }
                const int64_t at = i * p.out_stride + j;
                auto value = [&](const void *x) { return half ? to_float(static_cast<const bf16 *>(x)[at]) : static_cast<const float *>(x)[at]; };
                sum *= p.alpha;
                if (bias != nullptr) sum += to_float(bias[j]);
                if (p.residual != nullptr) sum += value(p.residual);
                else if (p.accumulate) sum += value(p.out);
                if (half) static_cast<bf16 *>(p.out)[at] = to_bf16(sum);
                else static_cast<float *>(p.out)[at] = sum;
            }
        }
    }
};

}  // namespace

std::unique_ptr<Library> open_library(std::string &) { return std::make_unique<Loops>(); }

}  // namespace cuda
}  // namespace metalora

// From now on there is no kernel for any product, or there is for all.
extern "C" __attribute__((visibility("default"))) void hostcuda_library_refuses(bool refuses) { metalora::cuda::refuses = refuses; }
