// Rotary position embedding in the half-split layout (Su et al. 2021).
#include "cuda/fault.h"
#include "cuda/kernels.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;

// A thread takes N pairs of one head. `direction`: 1 forward, -1 backward.
template <class T, int N>
__global__ void rotate_kernel(T *x, const float *cos, const float *sin, const int32_t *position, int64_t pairs, int64_t positions,
                              int heads, int half, int64_t stride, float direction, int *fault) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
    if (i >= pairs) return;
    const int64_t head = i / half, token = head / heads;  // heads of all tokens
    const int pair = static_cast<int>(i % half);
    const int64_t at = position[token];
    if (at < 0 || at >= positions) {
        *fault = kFaultPosition;
        return;
    }
    const int64_t angle = at * half + pair;
    T *low = x + token * stride + head % heads * 2 * half + pair, *high = low + half;
    float a[N], b[N], c[N], s[N];
    load<N>(a, low);
    load<N>(b, high);
    load<N>(c, cos + angle);
    load<N>(s, sin + angle);
    for (int j = 0; j < N; j++) {
        const float turned = a[j] * c[j] - b[j] * s[j] * direction;
        b[j] = b[j] * c[j] + a[j] * s[j] * direction;
        a[j] = turned;
    }
    store<N>(low, a);
    store<N>(high, b);
}

template <class T> cudaError_t rotate(const ml_rope_desc &d, float direction, int *fault, cudaStream_t stream) {
    const int64_t half = d.head_dim / 2, pairs = d.tokens * d.heads * half;
    if (pairs == 0) return cudaSuccess;
    auto *x = static_cast<T *>(d.x);
    auto run = [&](auto kernel, int n) {
        return launch(kernel, Grid(blocks_for(pairs, kThreads * n)), dim3(kThreads), 0, stream, x, d.cos, d.sin, d.position, pairs,
                      d.positions, static_cast<int>(d.heads), static_cast<int>(half), stride_of(d.stride, d.heads * d.head_dim), direction, fault);
    };
    return packable<8>(half | d.stride, x, d.cos, d.sin) ? run(rotate_kernel<T, 8>, 8) : run(rotate_kernel<T, 1>, 1);
}

}  // namespace

template <class T> cudaError_t rope_forward(const ml_rope_desc &d, int *fault, cudaStream_t stream) {
    return rotate<T>(d, 1.0f, fault, stream);
}

template <class T> cudaError_t rope_backward(const ml_rope_desc &d, int *fault, cudaStream_t stream) {
    return rotate<T>(d, -1.0f, fault, stream);
}

template cudaError_t rope_forward<float>(const ml_rope_desc &, int *, cudaStream_t);
template cudaError_t rope_forward<bf16>(const ml_rope_desc &, int *, cudaStream_t);
template cudaError_t rope_backward<float>(const ml_rope_desc &, int *, cudaStream_t);
template cudaError_t rope_backward<bf16>(const ml_rope_desc &, int *, cudaStream_t);

}  // namespace cuda
}  // namespace metalora
