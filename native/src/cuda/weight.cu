// Frozen weights: the host's matrix goes to the device in pieces and is converted there.
#include "cuda/kernels.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kPiece = int64_t(32) << 20;  // bytes

__device__ inline float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

__device__ inline float half_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return bits_to_float(sign | 0x7F800000 | fraction << 13);
    if (exponent > 0) return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
    const float magnitude = static_cast<float>(fraction) * (1.0f / 16777216.0f);  // subnormal: fraction * 2^-24
    return sign != 0 ? -magnitude : magnitude;
}

__device__ inline float source_element(const void *source, int32_t dtype, int64_t i) {
    if (dtype == ML_F32) return static_cast<const float *>(source)[i];
    const uint16_t bits = static_cast<const uint16_t *>(source)[i];
    return dtype == ML_BF16 ? bits_to_float(static_cast<uint32_t>(bits) << 16) : half_to_float(bits);
}

// Elements [first, first + count) of the matrix.
template <class T>
__global__ void convert_kernel(const void *source, int32_t dtype, T *to, int64_t first, int64_t count, int64_t in, int64_t stride) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= count) return;
    to[(first + i) / in * stride + (first + i) % in] = from_float<T>(source_element(source, dtype, i));
}

cudaError_t queue_pieces(State &s, const ml_weight_desc &d, const ml_weight &w, int64_t first_row) {
    const int64_t in = d.in_features, count = d.out_features * in, bytes = d.source_dtype == ML_F32 ? 4 : 2, piece = kPiece / bytes;
    const int64_t stride = WeightLayout(w).stride;
    auto *staging = s.take<char>(count < piece ? count * bytes : kPiece);
    for (int64_t first = 0; first < count; first += piece) {
        const int64_t n = count - first < piece ? count - first : piece;
        cudaError_t error = cudaMemcpyAsync(staging, static_cast<const char *>(d.data) + first * bytes, static_cast<size_t>(n * bytes),
                                            cudaMemcpyHostToDevice, s.stream);
        if (error != cudaSuccess) return error;
        const Grid grid(blocks_for(n, kThreads));
        const dim3 threads(kThreads);
        error = d.storage_dtype == ML_BF16
            ? launch(convert_kernel<bf16>, grid, threads, 0, s.stream, staging, d.source_dtype, static_cast<bf16 *>(w.data) + first_row * stride, first, n, in, stride)
            : launch(convert_kernel<float>, grid, threads, 0, s.stream, staging, d.source_dtype, static_cast<float *>(w.data) + first_row * stride, first, n, in, stride);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

}  // namespace

cudaError_t weight_pack(State &s, const ml_weight_desc &d, const ml_weight &w, int64_t first) {
    const cudaError_t error = queue_pieces(s, d, w, first);
    const cudaError_t waited = cudaStreamSynchronize(s.stream);  // the host's matrix is not kept after the call, whatever came of it
    return error != cudaSuccess ? error : waited;
}

}  // namespace cuda
}  // namespace metalora
