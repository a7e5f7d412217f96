// Embedding: rows of the frozen table.
#include "cuda/kernels.h"
#include "cuda/fault.h"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 128;

// N elements a thread at a time.
template <class T, class W, int N>
__global__ void embedding_kernel(const W *table, const int32_t *ids, T *y, int64_t vocab, int64_t hidden, int64_t stride, int *fault) {
    const int64_t t = blockIdx.x;
    const int32_t id = ids[t];
    const bool known = id >= 0 && id < vocab;
    if (!known && threadIdx.x == 0) *fault = kFaultIds;
    for (int64_t i = threadIdx.x * N; i < hidden; i += kThreads * N) {
        float v[N] = {};
        if (known) load<N>(v, table + id * stride + i);
        store<N>(y + t * hidden + i, v);
    }
}

}  // namespace

template <class T> cudaError_t embedding_forward(State &s, const ml_embedding_desc &d) {
    if (d.tokens == 0) return cudaSuccess;
    const ml_weight &w = *d.table;
    const int64_t stride = WeightLayout(w).stride;
    const bool packs = packable<8>(w.in_features | stride, w.data, d.y);
    auto run = [&](auto of_packs, auto of_one, const auto *table) {
        return launch(packs ? of_packs : of_one, Grid(d.tokens), dim3(kThreads), 0, s.stream, table, d.ids, static_cast<T *>(d.y),
                      w.out_features, w.in_features, stride, s.fault);
    };
    return w.storage_dtype == ML_BF16
        ? run(embedding_kernel<T, bf16, 8>, embedding_kernel<T, bf16, 1>, static_cast<const bf16 *>(w.data))
        : run(embedding_kernel<T, float, 8>, embedding_kernel<T, float, 1>, static_cast<const float *>(w.data));
}

template cudaError_t embedding_forward<float>(State &, const ml_embedding_desc &);
template cudaError_t embedding_forward<bf16>(State &, const ml_embedding_desc &);

}  // namespace cuda
}  // namespace metalora
