// SwiGLU and the LoRA linear that reads it: a block makes a number of rows and, in its epilogue, their h.
#include "cuda/kernels.h"
#include "cuda/shrink.h"
#include "cuda/sigmoid.cuh"

namespace metalora {
namespace cuda {

namespace {

// Rows for shrink.h.
struct GatedRows {
    const bf16 *gate, *up;
    bf16 *y;
    int64_t rows;
    int width;
    int64_t gate_stride, stride;  // of gate and up; of y

    __device__ void begin(int64_t) const {}

    __device__ void make(int64_t row0, int k, Pack<bf16> (&packs)[shrinking::kEach]) const {
        Pack<bf16> g[shrinking::kEach], u[shrinking::kEach];  // all on their way before the first is stored
        const int64_t first = row0 + threadIdx.x % kWarp / 4;
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            const int64_t at = there ? (first + i * 8) * gate_stride + k : 0;
            g[i] = *reinterpret_cast<const Pack<bf16> *>(gate + at);
            u[i] = *reinterpret_cast<const Pack<bf16> *>(up + at);
        }
        ML_UNROLL
        for (int i = 0; i < shrinking::kEach; i++) {
            const bool there = first + i * 8 < rows && k < width;
            ML_UNROLL
            for (int j = 0; j < 8; j++) {
                const float z = to_float(g[i].at[j]);
                packs[i].at[j] = to_bf16(there ? z * sigmoid(z) * to_float(u[i].at[j]) : 0.0f);
            }
            if (there) *reinterpret_cast<Pack<bf16> *>(y + (first + i * 8) * stride + k) = packs[i];
        }
    }
};

}  // namespace

template <class T> cudaError_t swiglu_linear_forward(State &s, const ml_swiglu_desc &swiglu, const ml_lora_linear_desc &linear) {
    auto make_x = [&](const Shrink &shrink, bool &shrunk) {
        shrunk = shrink.fusible && packable<8>(swiglu.width | swiglu.gate_stride | swiglu.y_stride, swiglu.gate, swiglu.up, swiglu.y);
        if (!shrunk) return swiglu_forward<T>(swiglu, s.stream);
        return make_and_shrink(s, GatedRows{static_cast<const bf16 *>(swiglu.gate), static_cast<const bf16 *>(swiglu.up), static_cast<bf16 *>(swiglu.y),
                                            swiglu.rows, static_cast<int>(swiglu.width), stride_of(swiglu.gate_stride, swiglu.width),
                                            stride_of(swiglu.y_stride, swiglu.width)}, shrink);
    };
    if (shrinks_first(linear)) return lora_linear_forward<T>(s, linear, make_x);
    const cudaError_t error = swiglu_forward<T>(swiglu, s.stream);
    return error != cudaSuccess ? error : lora_linear_forward<T>(s, linear);
}

template cudaError_t swiglu_linear_forward<float>(State &, const ml_swiglu_desc &, const ml_lora_linear_desc &);
template cudaError_t swiglu_linear_forward<bf16>(State &, const ml_swiglu_desc &, const ml_lora_linear_desc &);

}  // namespace cuda
}  // namespace metalora
