// What stands in for cuBLASLt: the product in float, rounded once.
#include "cuda/library.h"

namespace metalora {
namespace cuda {

namespace {

bool refuses = false;

class Loops final : public Library {
public:
    std::string name() const override { return "loops in cuBLASLt's place"; }
    cudaError_t product(const Product &p, cudaStream_t stream) override {
        const bool can = p.factors == 1 && !p.factor[0].by_slot && p.part == 0 && p.bias == nullptr && p.rounded.data == nullptr;
        return can && !refuses ? hostcuda::queue(stream, [p] { run(p); }) : hostcuda::failed(cudaErrorNotSupported);
    }

private:
    static void run(const Product &p) {
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
