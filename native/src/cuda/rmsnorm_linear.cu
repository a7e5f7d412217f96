// RMSNorm and the LoRA linear that reads it: a block makes a number of rows and, in its epilogue, their h.
#include "cuda/kernels.h"
#include "cuda/shrink.h"

namespace metalora {
namespace cuda {

namespace {

// Rows for shrink.h. They are read twice, the second time from the second-level cache as far as that holds what all blocks read.
struct NormRows {
    const bf16 *x;
    const float *weight;
    bf16 *y;
    float *rstd;  // nullable
    int64_t rows;
    int width;
    int64_t x_stride, stride;  // stride: of y
    float eps;
    float scale[shrinking::kEach];  // of the lane's rows

    __device__ void begin(int64_t row0) {
        ML_SHARED_ARRAY(float, scales, shrinking::kRows);
        const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
        for (int i = warp; i < shrinking::kRows && row0 + i < rows; i += shrinking::kWarps) {
            float squares = 0;
            for (int k = lane * 8; k < width; k += kWarp * 8) {
                float v[8];
                load<8>(v, x + (row0 + i) * x_stride + k);
                for (int j = 0; j < 8; j++) squares += v[j] * v[j];
            }
            const float of_row = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(width) + eps);
            if (lane == 0) {
                scales[i] = of_row;
                if (rstd != nullptr) rstd[row0 + i] = of_row;
            }
        }
        __syncthreads();
        for (int i = 0; i < shrinking::kEach; i++) {
            const int row = lane / 4 + i * 8;
            scale[i] = row0 + row < rows ? scales[row] : 0.0f;
        }
    }

    __device__ void make(int64_t row0, int k, Pack<bf16> (&packs)[shrinking::kEach]) const {
        float w[8] = {};
        if (k < width) load<8>(w, weight + k);
        Pack<bf16> v[shrinking::kEach];  // all on their way before the first is stored
        const int64_t first = row0 + threadIdx.x % kWarp / 4;
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            v[i] = *reinterpret_cast<const Pack<bf16> *>(x + (there ? (first + i * 8) * x_stride + k : 0));
        }
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            ML_UNROLL
            for (int j = 0; j < 8; j++) packs[i].at[j] = to_bf16(there ? to_float(v[i].at[j]) * scale[i] * w[j] : 0.0f);
            if (there) *reinterpret_cast<Pack<bf16> *>(y + (first + i * 8) * stride + k) = packs[i];
        }
    }
};

}  // namespace

template <class T> cudaError_t rmsnorm_linear_forward(State &s, const ml_rmsnorm_desc &norm, const ml_lora_linear_desc &linear) {
    auto make_x = [&](const Shrink &shrink, bool &shrunk) {
        shrunk = shrink.fusible && packable<8>(norm.width | norm.x_stride | norm.out_stride, norm.x, norm.weight, norm.y);
        if (!shrunk) return rmsnorm_forward<T>(norm, s.stream);
        return make_and_shrink(s, NormRows{static_cast<const bf16 *>(norm.x), norm.weight, static_cast<bf16 *>(norm.y), norm.rstd, norm.rows,
                                           static_cast<int>(norm.width), stride_of(norm.x_stride, norm.width), stride_of(norm.out_stride, norm.width),
                                           norm.eps, {}}, shrink);
    };
    if (shrinks_first(linear)) return lora_linear_forward<T>(s, linear, make_x);
    const cudaError_t error = rmsnorm_forward<T>(norm, s.stream);
    return error != cudaSuccess ? error : lora_linear_forward<T>(s, linear);
}

template cudaError_t rmsnorm_linear_forward<float>(State &, const ml_rmsnorm_desc &, const ml_lora_linear_desc &);
template cudaError_t rmsnorm_linear_forward<bf16>(State &, const ml_rmsnorm_desc &, const ml_lora_linear_desc &);

}  // namespace cuda
}  // namespace metalora
