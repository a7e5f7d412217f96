// Both forms of the product, and the choice between them.
#include "cuda/matmul.h"

namespace metalora {
namespace cuda {

namespace {

constexpr int kThreads = 256;
#ifdef METALORA_HOSTCUDA
constexpr int kTrials = 1;  // whose times are made up
#else
constexpr int kTrials = 3;
#endif

// to[t] = x[t], then each slot's columns: low[t] in those of t's slot, zeros in all others.
__global__ void append_kernel(const bf16 *x, int64_t x_stride, int64_t width, Matrix low, int64_t rank, const int32_t *slot_offsets,
                              int64_t slots, int64_t tokens, bf16 *to, int64_t stride) {
    const int64_t t = blockIdx.x;
    for (int64_t c = threadIdx.x * 8; c < width; c += kThreads * 8) {
        *reinterpret_cast<Pack<bf16> *>(to + t * stride + c) = *reinterpret_cast<const Pack<bf16> *>(x + t * x_stride + c);
    }
    for (int64_t c = threadIdx.x; c < slots * rank; c += kThreads) {
        const Segment rows = segment_of(slot_offsets, c / rank, tokens);
        const bool own = t >= rows.begin && t < rows.end;
        to[t * stride + width + c] = own ? static_cast<const bf16 *>(low.data)[t * low.row_stride + c % rank] : to_bf16(0.0f);
    }
}

cudaError_t own(const Product &p, const LowRank *low, cudaStream_t stream) {
    Product all = p;
    if (low != nullptr) all.factor[1] = {low->low, low->high, low->rank, true, 1}, all.factors = 2;
    return product(all, stream);
}

// What the library's form needs room for: x with the low-rank rows beside it, where those are not behind x itself; and the bias
// in bf16.
struct Operands {
    bf16 *appended = nullptr, *bias = nullptr;
};

bool copies(const LowRank *low) { return low != nullptr && !low->beside_rows; }

Operands operands(State &s, const Product &p, const LowRank *low) {
    Operands o;
    if (copies(low)) o.appended = s.take<bf16>(p.m * (p.factor[0].k + p.slots * low->rank));
    if (p.bias != nullptr) o.bias = s.take<bf16>(p.n);
    return o;
}

__global__ void round_bias_kernel(const float *bias, bf16 *to, int64_t count) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < count) to[i] = to_bf16(bias[i]);
}

cudaError_t library_product(State &s, const Product &p, bf16 *bias, int algorithm) {
    if (bias != nullptr) {
        const cudaError_t error = launch(round_bias_kernel, Grid(blocks_for(p.n, kThreads)), dim3(kThreads), 0, s.stream, p.bias, bias, p.n);
        if (error != cudaSuccess) return error;
    }
    return planning ? cudaSuccess : s.library->product(p, bias, algorithm, s.stream);
}

cudaError_t by_library(State &s, const Product &p, const LowRank *low, const Operands &o, int algorithm) {
    if (low == nullptr) return library_product(s, p, o.bias, algorithm);
    const int64_t tail = p.slots * low->rank;
    Product all = p;
    Matrix &left = all.factor[0].left;
    if (!low->beside_rows) {
        const cudaError_t error = launch(append_kernel, Grid(p.m), dim3(kThreads), 0, s.stream, static_cast<const bf16 *>(left.data),
                                         left.row_stride, p.factor[0].k, low->low, low->rank, p.slot_offsets, p.slots, p.tokens, o.appended,
                                         p.factor[0].k + tail);
        if (error != cudaSuccess) return error;
        left.data = o.appended, left.row_stride = p.factor[0].k + tail;
    }
    all.factor[0].k += tail;
    return library_product(s, all, o.bias, algorithm);
}

// Milliseconds of the fastest trial, with the result going elsewhere.
template <class Run> cudaError_t time(State &s, const Run &run, float &fastest) {
    cudaEvent_t begin = nullptr, end = nullptr;
    cudaError_t error = cudaEventCreate(&begin);
    if (error == cudaSuccess) error = cudaEventCreate(&end);
    for (int trial = 0; trial <= kTrials && error == cudaSuccess; trial++) {  // the first one warms up
        float taken = 0;
        error = cudaEventRecord(begin, s.stream);
        if (error == cudaSuccess) error = run();
        if (error == cudaSuccess) error = cudaEventRecord(end, s.stream);
        if (error == cudaSuccess) error = cudaEventSynchronize(end);
        if (error == cudaSuccess) error = cudaEventElapsedTime(&taken, begin, end);
        if (trial == 1 || (trial > 1 && taken < fastest)) fastest = taken;
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return error;
}

// Where the product goes while it is tried out: elsewhere, if it must not be added to twice.
void *trial_output(State &s, const Product &p) {
    if (!p.accumulate && p.residual != p.out) return p.out;
    return s.take<char>(p.m * p.out_stride * (p.out_dtype == ML_BF16 ? 2 : 4));
}

// Our own form's time, and that of the library's best algorithm. That it has no kernel for a shape only means that our own is taken.
cudaError_t measure(State &s, const Product &p, const LowRank *low, const Operands &o, MatmulChoice &measured) {
    Product trial = p;
    trial.out = trial_output(s, p);
    cudaError_t error = cudaSuccess;
    if (trial.out != p.out) {
        error = cudaMemsetAsync(trial.out, 0, static_cast<size_t>(p.m * p.out_stride * (p.out_dtype == ML_BF16 ? 2 : 4)), s.stream);
    }
    if (error == cudaSuccess) error = time(s, [&] { return own(trial, low, s.stream); }, measured.own_ms);
    measured.library_ms = MatmulChoice::kCannot;
    Product extended = p;
    if (low != nullptr) extended.factor[0].k += p.slots * low->rank;
    if (copies(low)) extended.factor[0].left.row_stride = extended.factor[0].k;
    const int algorithms = s.library->algorithms(extended, o.bias != nullptr);
    for (int i = 0; i < algorithms && error == cudaSuccess; i++) {
        float taken = 0;
        error = time(s, [&] { return by_library(s, trial, low, o, i); }, taken);
        if (error == cudaErrorNotSupported || error == cudaErrorUnknown) {  // the library's word on this algorithm alone
            cudaGetLastError();
            error = cudaSuccess;
        } else if (measured.library_ms == MatmulChoice::kCannot || taken < measured.library_ms) {
            measured.library_ms = taken, measured.algorithm = i, measured.rows = p.m;
        }
    }
    return error;
}

// The form that was measured to be the faster one.
struct Form {
    bool library;
    int algorithm;
    Operands operands;
};

cudaError_t form_of(State &s, const Product &p, bool transposed, const LowRank *low, Form &form) {
    form = {s.matmul == ML_MATMUL_CUBLASLT, 0, {}};
    if (form.library) form.operands = operands(s, p, low);
    if (s.matmul != ML_MATMUL_MEASURED) return cudaSuccess;
    if (planning) {  // either form, after a measurement, may be what runs
        operands(s, p, low);
        trial_output(s, p);
        return cudaSuccess;
    }
    int64_t bucket = 1;  // rows up to the next power of two are taken for alike
    while (bucket < p.m) bucket *= 2;
    const MatmulShape shape{bucket, p.n, p.factor[0].k, low == nullptr ? 0 : low->rank, low == nullptr ? 0 : p.slots, transposed, copies(low),
                            p.bias != nullptr, p.out_dtype, p.residual != nullptr || p.accumulate};
    const MatmulChoice *chosen = s.choices.find(shape);
    if (chosen == nullptr && s.context->recording.active) {
        s.context->recording.missing = "a measurement of its product";  // which waits
        return cudaErrorStreamCaptureUnsupported;
    }
    if (chosen == nullptr) {
        form.operands = operands(s, p, low);
        MatmulChoice measured{};
        const cudaError_t error = measure(s, p, low, form.operands, measured);
        if (error != cudaSuccess) return error;
        chosen = s.choices.add(shape, measured);
        s.context->blas = s.library->name() + ", own kernels for " + std::to_string(s.choices.own()) + " of " + std::to_string(s.choices.size())
            + " shapes measured";
    } else if (!chosen->own()) {
        form.operands = operands(s, p, low);
    }
    // The library lists its algorithms anew for every number of rows.
    form.library = !chosen->own(), form.algorithm = chosen->rows == p.m ? chosen->algorithm : 0;
    return cudaSuccess;
}

}  // namespace

cudaError_t matmul(State &s, const Product &p, bool transposed, const LowRank *low) {
    const bool can = s.library != nullptr && p.dropout.threshold == 0 && p.rounded.data == nullptr && p.m > 0
        && (low == nullptr || low->beside_weight);
    if (!can || s.matmul == ML_MATMUL_OWN) return own(p, low, s.stream);
    Form form{};
    const cudaError_t error = form_of(s, p, transposed, low, form);
    if (error != cudaSuccess) return error;
    if (!form.library) return own(p, low, s.stream);
    const cudaError_t done = by_library(s, p, low, form.operands, form.algorithm);
    // Measured for as many rows up to a power of two, it may have no kernel for these.
    return done == cudaErrorNotSupported && s.matmul == ML_MATMUL_MEASURED ? own(p, low, s.stream) : done;
}

}  // namespace cuda
}  // namespace metalora
