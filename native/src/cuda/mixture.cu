// A warp takes a token's term.
#include "cuda/mixture.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

__device__ inline void put(const TermRows &to, const ml_mixture_linear_desc &d, int64_t row, int64_t column, float value) {
    if (to.full != nullptr) to.full[row * to.padded + column] = value;
    else store_low(to.rounded, d.slot_offsets, d.slots, d.tokens, row / d.terms, row % d.terms * to.padded + column, value);
}

__global__ void mix_kernel(const __grid_constant__ ml_mixture_linear_desc d, const float *z, int64_t z_padded, TermRows mixed) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    if (row >= d.tokens * d.terms) return;
    float *h = d.h + row * d.rank, *w = d.weights + row * d.heads;
    if (z != nullptr) {
        const float *of = z + row * z_padded;
        for (int64_t r = lane; r < d.rank; r += kWarp) h[r] = of[r];
        of += d.rank;
        float most = -INFINITY, total = 0;
        for (int64_t j = lane; j < d.heads; j += kWarp) most = fmaxf(most, of[j]);
        for (int offset = kWarp / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(kFullMask, most, offset));
        for (int64_t j = lane; j < d.heads; j += kWarp) total += w[j] = expf(of[j] - most);
        total = warp_sum(total);
        for (int64_t j = lane; j < d.heads; j += kWarp) w[j] /= total;
        __syncwarp();  // the other lanes' weights and h are there
    }
    for (int64_t c = lane; c < mixed.padded; c += kWarp) {
        put(mixed, d, row, c, c < d.heads * d.rank ? w[c / d.rank] * h[c % d.rank] : 0.0f);
    }
}

__global__ void unmix_kernel(const __grid_constant__ ml_mixture_linear_desc d, const float *u, int64_t u_padded, TermRows direct,
                             TermRows masked) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    if (row >= d.tokens * d.terms) return;
    const float *h = d.h + row * d.rank, *w = d.weights + row * d.heads, *of = u + row * u_padded;
    auto d_w = [&](int64_t j) {
        float sum = 0;
        for (int64_t r = 0; r < d.rank; r++) sum += of[j * d.rank + r] * h[r];
        return sum;
    };
    auto d_h = [&](int64_t r) {
        float sum = 0;
        for (int64_t j = 0; j < d.heads; j++) sum += w[j] * of[j * d.rank + r];
        return sum;
    };
    float mean = 0;
    for (int64_t j = lane; j < d.heads; j += kWarp) mean += w[j] * d_w(j);
    mean = warp_sum(mean);
    for (int64_t c = lane; c < direct.padded; c += kWarp) {
        const int64_t j = c - d.rank;
        const float of_a = c < d.rank && !masked.wanted() ? d_h(c) : 0.0f;
        put(direct, d, row, c, j >= 0 && j < d.heads ? w[j] * (d_w(j) - mean) : of_a);
    }
    if (!masked.wanted()) return;
    for (int64_t c = lane; c < masked.padded; c += kWarp) put(masked, d, row, c, c < d.rank ? d_h(c) : 0.0f);
}

}  // namespace

cudaError_t mix(const ml_mixture_linear_desc &d, const float *z, int64_t z_padded, const TermRows &mixed, cudaStream_t stream) {
    const Grid grid(blocks_for(d.tokens * d.terms, kWarps));
    return launch(mix_kernel, grid, dim3(kThreads), 0, stream, d, z, z_padded, mixed);
}

cudaError_t unmix(const ml_mixture_linear_desc &d, const float *u, int64_t u_padded, const TermRows &direct,
                  const TermRows &masked, cudaStream_t stream) {
    const Grid grid(blocks_for(d.tokens * d.terms, kWarps));
    return launch(unmix_kernel, grid, dim3(kThreads), 0, stream, d, u, u_padded, direct, masked);
}

}  // namespace cuda
}  // namespace metalora
