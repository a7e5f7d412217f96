// The CUDA backend: a device, a stream, memory, and the ops' table. Everything is queued on one stream. The host waits in
// ml_download and ml_synchronize, and also where memory is given back, a weight is made, an upload is large or the ring of
// small ones has come round, and while a product's forms are measured.
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>

#include "core/contained.h"
#include "core/cuda_plugin.h"
#include "cuda/entered.h"
#include "cuda/fault.h"
#include "cuda/graph.h"
#include "cuda/kernels.h"
#include "cuda/status.h"

namespace metalora {

static const CudaHost *host = nullptr;

ml_status fail(ml_status status, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return host->fail(status, text);
}

namespace cuda {

namespace {

using ll = long long;

constexpr size_t kUploadRing = size_t(8) << 20;

std::string shape(std::initializer_list<std::pair<const char *, int64_t>> sizes) {
    std::string text;
    for (const auto &[name, size] : sizes) text += (text.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(size);
    return text;
}

// Runs an op; an error carries its shapes: shapes() gives their text.
template <class Shapes, class Op> ml_status queued(Context &c, const char *op, const Shapes &shapes, const Op &run) {
    return contained(op, [&]() -> ml_status {
        const Entered s(c);
        const Planning plans(c.scratch.planning());
        if (s->library != nullptr) s->library->forget_problem();
        try {
            const cudaError_t error = run(*s);
            if (c.scratch.planning()) c.recording.note_scratch(c.scratch.planned(), op, shapes);
            if (error == cudaSuccess) return ML_OK;
            std::string about = " (" + shapes() + ")";
            if (s->library != nullptr && *s->library->problem() != 0) about += std::string("; cuBLASLt: ") + s->library->problem();
            return status_of(error, op, about.c_str());
        } catch (const std::bad_alloc &) {
            return fail(ML_OUT_OF_MEMORY, "%s: no device memory for scratch space (%s; %lld of %lld bytes are held)", op, shapes().c_str(),
                        ll(c.in_use()), ll(c.memory_total));
        }
    });
}

// ---- memory -----------------------------------------------------------------------------------------------------

ml_status allocate(Context &c, size_t bytes, void **pointer) {
    const Entered s(c);
    const size_t rounded = bytes == 0 ? 64 : (bytes + 63) / 64 * 64;
    void *memory = nullptr;
    cudaError_t error = cudaMalloc(&memory, rounded);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        size_t free_bytes = 0, total = 0;
        cudaMemGetInfo(&free_bytes, &total);
        return fail(ML_OUT_OF_MEMORY, "no device memory for %zu bytes: this context holds %lld, the device has %zu of %zu left", bytes,
                    ll(c.in_use()), free_bytes, total);
    }
    if (error != cudaSuccess) return status_of(error, "ml_alloc");
    error = cudaMemsetAsync(memory, 0, rounded, s->stream);
    if (error != cudaSuccess) {
        cudaFree(memory);
        return status_of(error, "ml_alloc");
    }
    *pointer = memory;
    return ML_OK;
}

void release(Context &c, void *pointer) {
    const Entered s(c);
    cudaStreamSynchronize(s->stream);  // what is queued may still use it
    cudaFree(pointer);
    cudaGetLastError();
}

ml_status take_fault(State &s) {
    if (*s.fault == kNoFault) return ML_OK;
    const int found = *s.fault;
    *s.fault = kNoFault;
    return fail(ML_INVALID_ARGUMENT, "%s", fault_text(found));
}

// Of a call that waits: what was queued before it may be what went wrong.
ml_status waited(cudaError_t error, const char *op) {
    return status_of(error, op, " (in this call or an op before it; with CUDA_LAUNCH_BLOCKING=1 the op's own call fails)");
}

ml_status synchronize(Context &c) {
    const Entered s(c);
    if (ml_status status = waited(cudaStreamSynchronize(s->stream), "ml_synchronize"); status != ML_OK) return status;
    return take_fault(*s);
}

int64_t memory_free(Context &c) {
    const Entered s(c);
    size_t free_bytes = 0, total = 0;
    if (cudaMemGetInfo(&free_bytes, &total) == cudaSuccess) return static_cast<int64_t>(free_bytes);
    cudaGetLastError();
    return -1;
}

// The caller's memory may be used again once the call returns. Small pieces go through a ring of pinned memory, which waits
// when it comes round; a large one is waited for.
ml_status upload(Context &c, void *device, const void *from, size_t bytes) {
    if (bytes == 0) return ML_OK;
    const Entered s(c);
    if (bytes > kUploadRing / 4) {
        const cudaError_t error = cudaMemcpyAsync(device, from, bytes, cudaMemcpyHostToDevice, s->stream);
        const cudaError_t later = cudaStreamSynchronize(s->stream);
        return waited(error != cudaSuccess ? error : later, "ml_upload");
    }
    const size_t rounded = (bytes + 63) / 64 * 64;
    if (s->ring_used + rounded > kUploadRing) {
        if (ml_status status = waited(cudaStreamSynchronize(s->stream), "ml_upload"); status != ML_OK) return status;
        s->ring_used = 0;
    }
    char *pinned = s->ring + s->ring_used;
    s->ring_used += rounded;
    std::memcpy(pinned, from, bytes);
    return status_of(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, s->stream), "ml_upload");
}

ml_status download(Context &c, void *to, const void *device, size_t bytes) {
    const Entered s(c);
    const cudaError_t error = bytes == 0 ? cudaSuccess : cudaMemcpyAsync(to, device, bytes, cudaMemcpyDeviceToHost, s->stream);
    const cudaError_t later = cudaStreamSynchronize(s->stream);
    if (ml_status status = waited(error != cudaSuccess ? error : later, "ml_download"); status != ML_OK) return status;
    return take_fault(*s);
}

ml_status copy(Context &c, void *to, const void *from, size_t bytes) {
    if (bytes == 0 || to == from) return ML_OK;
    const auto a = reinterpret_cast<uintptr_t>(to), b = reinterpret_cast<uintptr_t>(from);
    const bool overlap = a < b + bytes && b < a + bytes;
    return queued(c, "ml_copy", [&] { return shape({{"bytes", static_cast<int64_t>(bytes)}}); }, [&](State &s) {
        const void *source = from;
        if (overlap) {
            void *between = s.take<char>(static_cast<int64_t>(bytes));
            if (planning) return cudaSuccess;
            const cudaError_t error = cudaMemcpyAsync(between, from, bytes, cudaMemcpyDeviceToDevice, s.stream);
            if (error != cudaSuccess) return error;
            source = between;
        }
        return planning ? cudaSuccess : cudaMemcpyAsync(to, source, bytes, cudaMemcpyDeviceToDevice, s.stream);
    });
}

ml_status copy_rows(Context &c, void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t rows) {
    return queued(c, "ml_copy_rows", [&] { return shape({{"bytes", static_cast<int64_t>(bytes)}, {"rows", static_cast<int64_t>(rows)}}); },
                  [&](State &s) {
                      return planning ? cudaSuccess : cudaMemcpy2DAsync(to, to_stride, from, from_stride, bytes, rows, cudaMemcpyDeviceToDevice, s.stream);
                  });
}

int64_t weight_bytes(const ml_weight_desc &d) {
    const WeightLayout layout(d.storage_dtype, d.out_features, d.in_features, d.adapter_columns);
    return layout.rows * layout.stride * (d.storage_dtype == ML_BF16 ? 2 : 4);
}

// Rows of `width` activations, `stride` apart, from a pointer to the end of its buffer.
int64_t room(const Context &c, const void *pointer, int64_t width, int64_t stride) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    auto after = c.buffers.upper_bound(address);
    if (after == c.buffers.begin()) return 0;
    const auto &[start, length] = *std::prev(after);
    const int64_t elements = (static_cast<int64_t>(start + length) - static_cast<int64_t>(address)) / (c.backend.activation_dtype == ML_BF16 ? 2 : 4);
    return elements < width ? 0 : (elements - width) / stride_of(stride, width) + 1;
}

// ---- ops --------------------------------------------------------------------------------------------------------

template <class T> struct Ops {
    static ml_status embedding(Context &c, const ml_embedding_desc &d) {
        return queued(c, "ml_embedding_forward", [&] { return shape({{"tokens", d.tokens}}); }, [&](State &s) { return embedding_forward<T>(s, d); });
    }
    static ml_status norm(Context &c, const ml_rmsnorm_desc &d) {
        return queued(c, "ml_rmsnorm_forward", [&] { return shape({{"rows", d.rows}, {"width", d.width}}); },
                      [&](State &s) { return rmsnorm_forward<T>(d, s.stream); });
    }
    static ml_status norm_backward(Context &c, const ml_rmsnorm_desc &d) {
        return queued(c, "ml_rmsnorm_backward", [&] { return shape({{"rows", d.rows}, {"width", d.width}}); },
                      [&](State &s) { return rmsnorm_backward<T>(d, s.stream); });
    }
    static ml_status table(Context &c, const ml_rope_table_desc &d) {
        return queued(c, "ml_rope_table", [&] { return shape({{"positions", d.positions}, {"head_dim", d.head_dim}}); },
                      [&](State &s) { return rope_table(d, s.stream); });
    }
    static ml_status rope(Context &c, const ml_rope_desc &d) {
        return queued(c, "ml_rope_forward", [&] { return shape({{"tokens", d.tokens}, {"heads", d.heads}, {"head_dim", d.head_dim}}); },
                      [&](State &s) { return rope_forward<T>(d, s.fault, s.stream); });
    }
    static ml_status rope_back(Context &c, const ml_rope_desc &d) {
        return queued(c, "ml_rope_backward", [&] { return shape({{"tokens", d.tokens}, {"heads", d.heads}, {"head_dim", d.head_dim}}); },
                      [&](State &s) { return rope_backward<T>(d, s.fault, s.stream); });
    }
    static std::string attention_shape(const ml_attention_desc &d) {
        return shape({{"tokens", d.tokens}, {"sequences", d.sequences}, {"max_length", d.max_length}, {"heads", d.heads},
                      {"kv_heads", d.kv_heads}, {"head_dim", d.head_dim}});
    }
    static ml_status unsupported(const char *op, const ml_attention_desc &d) {
        return fail(ML_UNSUPPORTED, "%s: head_dim: the CUDA backend has no kernel for heads of %lld; up to 256 it has", op, ll(d.head_dim));
    }
    static ml_status attention(Context &c, const ml_attention_desc &d) {
        if (!attention_supports(d.head_dim)) return unsupported("ml_attention_forward", d);
        const int64_t width = d.kv_heads * d.head_dim, keys = room(c, d.k, width, d.kv_stride), values = room(c, d.v, width, d.kv_stride);
        return queued(c, "ml_attention_forward", [&] { return attention_shape(d); },
                      [&](State &s) { return attention_forward<T>(s, d, keys < values ? keys : values); });
    }
    static ml_status attention_back(Context &c, const ml_attention_desc &d) {
        if (!attention_supports(d.head_dim)) return unsupported("ml_attention_backward", d);
        return queued(c, "ml_attention_backward", [&] { return attention_shape(d); }, [&](State &s) { return attention_backward<T>(s, d); });
    }
    static std::string linear_shape(const ml_lora_linear_desc &d) {
        return shape({{"tokens", d.tokens}, {"in", d.w->in_features}, {"out", d.w->out_features}, {"rank", d.rank}, {"slots", d.slots}, {"terms", d.terms}});
    }
    static ml_status linear(Context &c, const ml_lora_linear_desc &d) {
        return queued(c, "ml_lora_linear_forward", [&] { return linear_shape(d); }, [&](State &s) { return lora_linear_forward<T>(s, d); });
    }
    static ml_status linear_backward(Context &c, const ml_lora_linear_desc &d) {
        return queued(c, "ml_lora_linear_backward", [&] { return linear_shape(d); }, [&](State &s) { return lora_linear_backward<T>(s, d); });
    }
    static std::string mixture_shape(const ml_mixture_linear_desc &d) {
        return shape({{"tokens", d.tokens}, {"in", d.w->in_features}, {"out", d.w->out_features}, {"rank", d.rank},
                      {"heads", d.heads}, {"slots", d.slots}, {"terms", d.terms}});
    }
    static ml_status mixture(Context &c, const ml_mixture_linear_desc &d) {
        return queued(c, "ml_mixture_linear_forward", [&] { return mixture_shape(d); },
                      [&](State &s) { return mixture_linear_forward<T>(s, d); });
    }
    static ml_status mixture_backward(Context &c, const ml_mixture_linear_desc &d) {
        return queued(c, "ml_mixture_linear_backward", [&] { return mixture_shape(d); },
                      [&](State &s) { return mixture_linear_backward<T>(s, d); });
    }
    static ml_status norm_linear(Context &c, const ml_rmsnorm_desc &norm, const ml_lora_linear_desc &d) {
        return queued(c, "ml_rmsnorm_linear_forward", [&] { return linear_shape(d); }, [&](State &s) { return rmsnorm_linear_forward<T>(s, norm, d); });
    }
    static ml_status gated_linear(Context &c, const ml_swiglu_desc &gated, const ml_lora_linear_desc &d) {
        return queued(c, "ml_swiglu_linear_forward", [&] { return linear_shape(d); }, [&](State &s) { return swiglu_linear_forward<T>(s, gated, d); });
    }
    static ml_status gated(Context &c, const ml_swiglu_desc &d) {
        return queued(c, "ml_swiglu_forward", [&] { return shape({{"rows", d.rows}, {"width", d.width}}); }, [&](State &s) { return swiglu_forward<T>(d, s.stream); });
    }
    static ml_status gated_backward(Context &c, const ml_swiglu_desc &d) {
        return queued(c, "ml_swiglu_backward", [&] { return shape({{"rows", d.rows}, {"width", d.width}}); }, [&](State &s) { return swiglu_backward<T>(d, s.stream); });
    }
    static ml_status loss(Context &c, const ml_cross_entropy_desc &d) {
        return queued(c, "ml_cross_entropy",
                      [&] { return shape({{"tokens", d.tokens}, {"rows", d.count}, {"hidden", d.w->in_features}, {"vocab", d.w->out_features}}); },
                      [&](State &s) { return cross_entropy<T>(s, d); });
    }
    static ml_status fill_values(Context &c, float *values, int64_t count, float value) {
        return queued(c, "ml_fill", [&] { return shape({{"count", count}}); }, [&](State &s) { return fill(values, count, value, s.stream); });
    }
    static ml_status broadcast_values(Context &c, float *to, const float *from, int64_t count, int64_t stride, int64_t slots) {
        return queued(c, "ml_broadcast", [&] { return shape({{"count", count}, {"slots", slots}}); },
                      [&](State &s) { return broadcast(to, from, count, stride, slots, s.stream); });
    }
    static ml_status clip(Context &c, const ml_clip_desc &d) {
        return queued(c, "ml_clip_global_norm", [&] { return shape({{"count", d.count}, {"slots", d.slots}}); },
                      [&](State &s) { return clip_global_norm(d, s.take<double>(clip_global_norm_scratch(d)), s.stream); });
    }
    static ml_status sgd(Context &c, const ml_sgd_desc &d) {
        return queued(c, "ml_sgd_step", [&] { return shape({{"count", d.count}, {"slots", d.slots}}); }, [&](State &s) { return sgd_step(d, s.stream); });
    }
    static ml_status adamw(Context &c, const ml_adamw_desc &d) {
        return queued(c, "ml_adamw_step", [&] { return shape({{"count", d.count}, {"slots", d.slots}}); }, [&](State &s) { return adamw_step(d, s.stream); });
    }
    static ml_status reduce(Context &c, const ml_task_reduce_desc &d) {
        return queued(c, "ml_task_reduce", [&] { return shape({{"count", d.count}, {"slots", d.slots}}); },
                      [&](State &s) { return task_reduce(d, s.take<double>(task_reduce_scratch(d)), s.stream); });
    }
    static ml_status pack(Context &c, const ml_weight_desc &d, ml_weight &w, int64_t first) {
        const char *op = c.weights.count(&w) == 0 ? "ml_weight_create" : "ml_weight_write";  // not live yet: it is being made
        return queued(c, op, [&] { return shape({{"out", d.out_features}, {"in", d.in_features}}); },
                      [&](State &s) { return weight_pack(s, d, w, first); });
    }

    static const OpTable *table_of_ops() {
        static const OpTable ops = {
            embedding, norm, norm_backward, table, rope, rope_back, attention, attention_back, linear, linear_backward,
            mixture, mixture_backward, norm_linear, gated, gated_backward, gated_linear, loss, fill_values, broadcast_values, clip, sgd, adamw, reduce, pack,
        };
        return &ops;
    }
};

// ---- the device -------------------------------------------------------------------------------------------------

ml_status probe() {
    return contained("ml_backend_probe", []() -> ml_status {
        int count = 0;
        const cudaError_t error = cudaGetDeviceCount(&count);
        if (error != cudaSuccess) {
            cudaGetLastError();
            return fail(ML_BACKEND_UNAVAILABLE, "no CUDA device can be used: %s", cudaGetErrorString(error));
        }
        return count > 0 ? ML_OK : fail(ML_BACKEND_UNAVAILABLE, "no CUDA device can be used: the driver sees none");
    });
}

void close(Context &c) {
    if (c.state == nullptr) return;
    const Entered entered(c);
    const std::unique_ptr<State> s(static_cast<State *>(c.state));
    c.state = nullptr;
    if (s->stream != nullptr) cudaStreamSynchronize(s->stream);
    s->library.reset();
    if (s->stream != nullptr) cudaStreamDestroy(s->stream);
    if (s->fault != nullptr) cudaFreeHost(s->fault);
    if (s->ring != nullptr) cudaFreeHost(s->ring);
    cudaGetLastError();
}

ScratchMemory scratch_memory(Context &c) {
    ScratchMemory memory{};
    memory.owner = &c;
    memory.allocate = [](void *owner, size_t bytes) -> void * {
        const Entered s(*static_cast<Context *>(owner));
        void *block = nullptr;
        if (cudaMalloc(&block, bytes) == cudaSuccess) return block;
        cudaGetLastError();
        return nullptr;
    };
    memory.release = [](void *owner, void *block) { release(*static_cast<Context *>(owner), block); };
#ifdef METALORA_HOSTCUDA
    memory.poison = [](void *owner, void *taken, size_t bytes) {  // NaN: what is read unwritten shows
        const Entered s(*static_cast<Context *>(owner));
        cudaMemsetAsync(taken, 0xFF, bytes, s->stream);
    };
#endif
    return memory;
}

ml_status check_options(const ml_context_options &options) {
    int count = 0;
    if (ml_status status = status_of(cudaGetDeviceCount(&count), "ml_context_create"); status != ML_OK) return status;
    if (options.device < 0 || options.device >= count) {
        return fail(ML_INVALID_ARGUMENT, "ml_context_create: device: %d is not one of the %d CUDA devices here", options.device, count);
    }
    if (options.activation_dtype != ML_F32 && options.activation_dtype != ML_BF16 && options.activation_dtype != ML_ACTIVATIONS_DEFAULT) {
        return fail(ML_INVALID_ARGUMENT, "ml_context_create: activation_dtype: has to be ML_F32 or ML_BF16");
    }
    if (options.matmul < ML_MATMUL_MEASURED || options.matmul > ML_MATMUL_CUBLASLT) {
        return fail(ML_INVALID_ARGUMENT, "ml_context_create: matmul: %d is not an ml_matmul", options.matmul);
    }
    if (options.isa != nullptr) return fail(ML_INVALID_ARGUMENT, "ml_context_create: isa: is for the CPU backend");
    return ML_OK;
}

// Fills in the context's state and backend. What was made by then is the caller's to close when this fails or throws.
ml_status prepare(Context &c, const ml_context_options &options) {
    cudaDeviceProp properties{};
    if (ml_status status = status_of(cudaGetDeviceProperties(&properties, options.device), "ml_context_create"); status != ML_OK) return status;
    if (properties.major < 8) {
        return fail(ML_BACKEND_UNAVAILABLE, "ml_context_create: device: %s has compute capability %d.%d; 8.0 or newer is needed",
                    properties.name, properties.major, properties.minor);
    }
    const int32_t activations = options.activation_dtype == ML_ACTIVATIONS_DEFAULT ? ML_BF16 : options.activation_dtype;
    auto owned = std::make_unique<State>();
    owned->context = &c, owned->scratch = host->scratch, owned->device = options.device, owned->matmul = options.matmul;
    owned->blocks = 2 * properties.multiProcessorCount;
    State *s = owned.release();
    c.state = s;
    const Entered entered(c);
    cudaError_t error = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaHostAlloc(reinterpret_cast<void **>(&s->fault), sizeof(int), cudaHostAllocMapped);
    if (error == cudaSuccess) error = cudaHostAlloc(reinterpret_cast<void **>(&s->ring), kUploadRing, cudaHostAllocDefault);
    if (error != cudaSuccess) return status_of(error, "ml_context_create");
    *s->fault = kNoFault;
    const int32_t capabilities = ML_CAN_RECORD | ML_GAINS_BY_STACKING | ML_HAS_OWN_MEMORY | ML_GAINS_BY_BF16
                                 | (activations == ML_BF16 ? ML_GAINS_BY_ADAPTER_ROOM : 0);
    c.backend = {ML_BACKEND_CUDA, activations, capabilities, false, activations == ML_BF16 ? Ops<bf16>::table_of_ops() : Ops<float>::table_of_ops(),
                 allocate, release, upload, download, copy, copy_rows, synchronize, memory_free, weight_bytes, close, graph_table()};
    c.scratch.use(scratch_memory(c));
    c.memory_total = static_cast<int64_t>(properties.totalGlobalMem);
    c.device_name = properties.name;
    c.isa = "sm_" + std::to_string(properties.major * 10 + properties.minor);
    c.isa_reason = "the device's compute capability";
    std::string why = "own kernels were asked for";
    if (activations == ML_BF16 && options.matmul != ML_MATMUL_OWN) s->library = open_library(why);
    if (s->library == nullptr && options.matmul == ML_MATMUL_CUBLASLT) {
        return fail(ML_UNSUPPORTED, "ml_context_create: matmul: cuBLASLt %s", activations == ML_F32
                    ? "takes bf16 activations" : ("cannot be used: " + why).c_str());
    }
    if (activations == ML_F32) c.blas = "own kernels";
    else c.blas = s->library == nullptr ? "own kernels (cuBLASLt: " + why + ")" : s->library->name();
    if (s->library != nullptr) s->choices.open(cache_folder(), c.device_name, s->library->name());
    return ML_OK;
}

ml_status open(Context &c, const ml_context_options &options) {
    if (ml_status status = probe(); status != ML_OK) return status;
    if (ml_status status = check_options(options); status != ML_OK) return status;
    const ml_status status = contained("ml_context_create", [&] { return prepare(c, options); });
    if (status != ML_OK) close(c);
    return status;
}

}  // namespace
}  // namespace cuda

extern "C" __attribute__((visibility("default"))) const CudaPlugin *metalora_cuda_plugin(const CudaHost *caller) {
    static const CudaPlugin plugin{cuda::probe, cuda::open};
    if (caller->layout != kCudaLayout) return nullptr;
    host = caller;
    return &plugin;
}

}  // namespace metalora
