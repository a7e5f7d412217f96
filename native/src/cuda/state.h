// What the CUDA backend keeps in a context, and what its ops need of it.
#pragma once

#include <memory>
#include <new>

#include "core/context.h"
#include "cuda/choices.h"
#include "cuda/library.h"

namespace metalora {
namespace cuda {

struct State {
    Context *context = nullptr;
    void *(*scratch)(Context &, size_t bytes) = nullptr;
    int device = 0;
    int64_t blocks = 0;           // two for each multiprocessor
    cudaStream_t stream = nullptr;
    char *ring = nullptr;         // pinned memory that small uploads go through
    size_t ring_used = 0;
    int *fault = nullptr;         // written by kernels, read by the host: see Fault
    int32_t matmul = ML_MATMUL_MEASURED;
    std::unique_ptr<Library> library;  // nullptr: own kernels alone
    MatmulChoices choices;

    // Scratch memory of the running op. Throws std::bad_alloc.
    template <class T> T *take(int64_t count) {
        void *memory = scratch(*context, static_cast<size_t>(count) * sizeof(T));
        if (memory == nullptr) throw std::bad_alloc();
        return static_cast<T *>(memory);
    }
};

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Frozen weights lie row-major, [out, in]. bf16 weights have room for the adapters' K-tail: `tail` columns behind each row,
// for scaled B, and as many rows below, for A, so that [x, h] [W, sB]^T and [dy, u] [W; A] are each one product.
// Rows begin at multiples of 16 bytes. The K-tail belongs to the running op, which writes it before each such product, on the
// context's one stream.
struct WeightLayout {
    int64_t stride, rows, tail;
    WeightLayout(int32_t storage, int64_t out, int64_t in, int64_t adapter_columns) {
        tail = storage == ML_BF16 ? adapter_columns : 0;
        stride = storage == ML_BF16 ? round_up(in, 8) + tail : in;
        rows = out + tail;
    }
    explicit WeightLayout(const ml_weight &w) : WeightLayout(w.storage_dtype, w.out_features, w.in_features, w.adapter_columns) {}
};

}  // namespace cuda
}  // namespace metalora
