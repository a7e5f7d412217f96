// The public entry points: validate, then dispatch to the backend's table.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>

#include "core/check.h"
#include "core/contained.h"
#include "core/context.h"
#include "core/error.h"
#include "core/stride.h"

using namespace metalora;

namespace {

// Marks the context as in use for the length of a call and gives its scratch memory back at the end.
class Guard {
public:
    Guard(ml_context *context, const char *op) {
        if (context == nullptr) {
            status_ = fail(ML_INVALID_ARGUMENT, "%s: context is NULL", op);
        } else if (context->busy.exchange(true, std::memory_order_acquire)) {
            status_ = fail(ML_BUSY, "%s: the context is running a call of another thread; a context serves one thread at a time", op);
        } else {
            context_ = context;
        }
    }
    ~Guard() {
        if (context_ == nullptr) return;
        context_->scratch.reset();
        context_->busy.store(false, std::memory_order_release);
    }
    Guard(const Guard &) = delete;
    Guard &operator=(const Guard &) = delete;
    ml_status status() const { return status_; }

private:
    ml_context *context_ = nullptr;
    ml_status status_ = ML_OK;
};

// Runs a call under the guard.
template <class Call>
int32_t guarded(ml_context *context, const char *op, const Call &call) {
    Guard guard(context, op);
    return guard.status() != ML_OK ? guard.status() : contained(op, [&] { return call(*context); });
}

// From the begin of a recording or a plan to its end the context is of the thread that began it: another one's ops would be
// taken up, not run.
ml_status of_this_thread(const Context &c, const char *op) {
    if (!c.recording.active || c.recording.thread == std::this_thread::get_id()) return ML_OK;
    return fail(ML_BUSY, "%s: in another thread %s on this context; call it after that thread has called %s", op, c.recording.what(),
                c.recording.ending());
}

// The same for a call that a recording takes up: one that queues work on the device and nothing else.
template <class Call>
int32_t recordable(ml_context *context, const char *op, const Call &call) {
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        const ml_status status = contained(op, [&] { return call(c); });
        return c.recording.active ? c.recording.note(op, status) : status;
    });
}

// The same for a call that cannot be part of a recording.
template <class Call>
int32_t unrecordable(ml_context *context, const char *op, const Call &call) {
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        if (c.recording.active) {
            return fail(ML_INVALID_ARGUMENT, "%s: %s, and this call cannot be part of it; call it before that begins or after %s", op,
                        c.recording.what(), c.recording.ending());
        }
        return call(c);
    });
}

// The same for an op with a descriptor: validate(check, desc), then the table's entry.
template <class Desc, class Validate>
int32_t run_op(ml_context *context, const Desc *desc, const char *op,
               ml_status (*OpTable::*entry)(Context &, const Desc &), const Validate &validate) {
    return recordable(context, op, [&](Context &c) -> ml_status {
        if (desc == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: desc is NULL", op);
        const Desc checked = *desc;  // what another thread writes into the caller's meanwhile is of no effect
        Check check(c, op);
        validate(check, checked);
        if (!check.ok()) return check.status();
        return (c.backend.ops->*entry)(c, checked);
    });
}

// A descriptor with its `next` as they are now: what another thread writes into the caller's meanwhile is of no effect.
template <class Desc> struct WithNext {
    explicit WithNext(const Desc *caller) {
        if (caller == nullptr) return;
        own = *caller, given = &own;
        if (own.next != nullptr) next = *own.next, own.next = &next;
    }
    const Desc *given = nullptr;
    Desc own;
    ml_lora_linear_desc next;
};

// Floats from the first to one past the last element of `slots` vectors, `stride` apart.
Count span(int64_t slots, int64_t stride, Count count) {
    return slots <= 0 ? Count(0) : Count(slots - 1) * Count(stride) + count;
}

bool known_dtype(int32_t dtype) { return dtype == ML_F32 || dtype == ML_BF16 || dtype == ML_F16; }

bool dense(int64_t stride, int64_t width) { return stride_of(stride, width) == width; }

constexpr int64_t kMaxFeatures = int64_t(1) << 24;
constexpr int64_t kMaxHeads = 65535;  // what one dimension of a grid holds
constexpr int64_t kMaxSlots = 65000;  // that too, and parts of tokens beside them

ml_status take(Context &context, size_t bytes, void **pointer) {
    void *memory = nullptr;
    if (ml_status status = context.backend.allocate(context, bytes, &memory); status != ML_OK) return status;
    context.held += static_cast<int64_t>(bytes);
    context.note_peak();
    *pointer = memory;
    return ML_OK;
}

}  // namespace

extern "C" {

// ---- library ----------------------------------------------------------------------------------------------------

int32_t ml_abi_version(void) { return ML_ABI_VERSION; }

const char *ml_version(void) { return METALORA_VERSION; }

const char *ml_status_name(int32_t status) {
    switch (status) {
        case ML_OK: return "ML_OK";
        case ML_INVALID_ARGUMENT: return "ML_INVALID_ARGUMENT";
        case ML_OUT_OF_MEMORY: return "ML_OUT_OF_MEMORY";
        case ML_UNSUPPORTED: return "ML_UNSUPPORTED";
        case ML_BACKEND_UNAVAILABLE: return "ML_BACKEND_UNAVAILABLE";
        case ML_BUSY: return "ML_BUSY";
        case ML_NOT_FINITE: return "ML_NOT_FINITE";
        case ML_INTERNAL: return "ML_INTERNAL";
        default: return "unknown status";
    }
}

const char *ml_last_error(void) { return last_error(); }

// ---- context ----------------------------------------------------------------------------------------------------

static ml_status probe(const char *op, int32_t backend) {
    switch (backend) {
        case ML_BACKEND_CPU: return ML_OK;
        case ML_BACKEND_CUDA: return probe_cuda();
        default: return fail(ML_INVALID_ARGUMENT, "%s: backend: %d is not a backend", op, backend);
    }
}

int32_t ml_backend_probe(int32_t backend) {
    const char *op = "ml_backend_probe";
    return contained(op, [&] { return probe(op, backend); });
}

int32_t ml_context_create(const ml_context_options *options, ml_context **context) {
    if (context == nullptr) return fail(ML_INVALID_ARGUMENT, "ml_context_create: context is NULL");
    *context = nullptr;
    if (options == nullptr) return fail(ML_INVALID_ARGUMENT, "ml_context_create: options is NULL");
    if (options->threads < 0 || options->threads > ML_MAX_THREADS) {
        return fail(ML_INVALID_ARGUMENT, "ml_context_create: threads: %d is outside [0, %d]", options->threads, ML_MAX_THREADS);
    }
    const char *op = "ml_context_create";
    return contained(op, [&]() -> ml_status {
        if (ml_status status = probe(op, options->backend); status != ML_OK) return status;
        auto created = std::make_unique<ml_context>();
        const auto open = options->backend == ML_BACKEND_CUDA ? open_cuda : open_cpu;
        if (ml_status status = open(*created, *options); status != ML_OK) return status;
        *context = created.release();
        return ML_OK;
    });
}

int32_t ml_context_destroy(ml_context *context) {
    if (context == nullptr) return ML_OK;
    if (context->busy.exchange(true, std::memory_order_acquire)) {
        return fail(ML_BUSY, "ml_context_destroy: the context is running a call of another thread");
    }
    ml_status status = of_this_thread(*context, "ml_context_destroy");
    if (status == ML_OK && context->recording.active) {
        status = fail(ML_INVALID_ARGUMENT, "ml_context_destroy: %s; call %s first", context->recording.what(), context->recording.ending());
    } else if (status == ML_OK && (!context->buffers.empty() || !context->weights.empty() || !context->graphs.empty())) {
        status = fail(ML_INVALID_ARGUMENT, "ml_context_destroy: %zu buffers, %zu weights and %zu graphs are still live; free them first",
                      context->buffers.size(), context->weights.size(), context->graphs.size());
    }
    if (status != ML_OK) {
        context->busy.store(false, std::memory_order_release);
        return status;
    }
    context->scratch.free_all();
    if (context->backend.close != nullptr) context->backend.close(*context);
    delete context;
    return ML_OK;
}

int32_t ml_context_get_info(ml_context *context, ml_context_info *info) {
    return guarded(context, "ml_context_get_info", [&](Context &c) -> ml_status {
        if (info == nullptr) return fail(ML_INVALID_ARGUMENT, "ml_context_get_info: info is NULL");
        *info = {};
        info->backend = c.backend.id;
        info->threads = c.pool ? c.pool->threads() : 0;
        info->activation_dtype = c.backend.activation_dtype;
        info->memory_total = c.memory_total;
        info->memory_in_use = c.in_use();
        info->memory_peak = c.peak;
        info->memory_free = c.backend.memory_free == nullptr ? -1 : c.backend.memory_free(c);
        std::snprintf(info->device_name, sizeof info->device_name, "%s", c.device_name.c_str());
        std::snprintf(info->isa, sizeof info->isa, "%s", c.isa.c_str());
        std::snprintf(info->isa_reason, sizeof info->isa_reason, "%s", c.isa_reason.c_str());
        std::snprintf(info->blas, sizeof info->blas, "%s", c.blas.c_str());
        return ML_OK;
    });
}

int32_t ml_synchronize(ml_context *context) {
    return unrecordable(context, "ml_synchronize", [&](Context &c) { return c.backend.synchronize(c); });
}

// ---- memory -----------------------------------------------------------------------------------------------------

int32_t ml_alloc(ml_context *context, int64_t bytes, void **pointer) {
    return unrecordable(context, "ml_alloc", [&](Context &c) -> ml_status {
        if (pointer == nullptr) return fail(ML_INVALID_ARGUMENT, "ml_alloc: pointer is NULL");
        *pointer = nullptr;
        if (bytes < 0) return fail(ML_INVALID_ARGUMENT, "ml_alloc: bytes: %lld is negative", static_cast<long long>(bytes));
        if (bytes > c.memory_total) {
            return fail(ML_OUT_OF_MEMORY, "ml_alloc: %lld bytes are more than the device has (%lld)",
                        static_cast<long long>(bytes), static_cast<long long>(c.memory_total));
        }
        void *memory = nullptr;
        if (ml_status status = take(c, static_cast<size_t>(bytes), &memory); status != ML_OK) return status;
        try {
            c.buffers.emplace(reinterpret_cast<uintptr_t>(memory), static_cast<size_t>(bytes));
        } catch (...) {
            c.held -= bytes;
            c.backend.release(c, memory);
            throw;
        }
        *pointer = memory;
        return ML_OK;
    });
}

int32_t ml_free(ml_context *context, void *pointer) {
    return unrecordable(context, "ml_free", [&](Context &c) -> ml_status {
        if (pointer == nullptr) return ML_OK;
        auto found = c.buffers.find(reinterpret_cast<uintptr_t>(pointer));
        if (found == c.buffers.end()) {
            return fail(ML_INVALID_ARGUMENT, "ml_free: pointer: not a live buffer of this context");
        }
        c.held -= static_cast<int64_t>(found->second);
        c.buffers.erase(found);
        c.freed++;
        c.backend.release(c, pointer);
        return ML_OK;
    });
}

int32_t ml_upload(ml_context *context, void *device, const void *host, int64_t bytes) {
    return unrecordable(context, "ml_upload", [&](Context &c) -> ml_status {
        Check check(c, "ml_upload");
        check.range("bytes", bytes, 0, INT64_MAX).buffer("device", device, bytes, 1);
        check.require(bytes == 0 || host != nullptr, "host", "is NULL");
        return check.ok() ? c.backend.upload(c, device, host, static_cast<size_t>(bytes)) : check.status();
    });
}

int32_t ml_download(ml_context *context, void *host, const void *device, int64_t bytes) {
    return unrecordable(context, "ml_download", [&](Context &c) -> ml_status {
        Check check(c, "ml_download");
        check.range("bytes", bytes, 0, INT64_MAX).buffer("device", device, bytes, 1);
        check.require(bytes == 0 || host != nullptr, "host", "is NULL");
        return check.ok() ? c.backend.download(c, host, device, static_cast<size_t>(bytes)) : check.status();
    });
}

int32_t ml_copy(ml_context *context, void *to, const void *from, int64_t bytes) {
    return recordable(context, "ml_copy", [&](Context &c) -> ml_status {
        Check check(c, "ml_copy");
        check.range("bytes", bytes, 0, INT64_MAX).buffer("to", to, bytes, 1).buffer("from", from, bytes, 1);
        return check.ok() ? c.backend.copy(c, to, from, static_cast<size_t>(bytes)) : check.status();
    });
}

int32_t ml_copy_rows(ml_context *context, void *to, int64_t to_stride, const void *from, int64_t from_stride, int64_t bytes, int64_t rows) {
    return recordable(context, "ml_copy_rows", [&](Context &c) -> ml_status {
        Check check(c, "ml_copy_rows");
        check.range("bytes", bytes, 0, INT32_MAX).range("rows", rows, 0, INT32_MAX);
        check.range("to_stride", to_stride, bytes, INT32_MAX).range("from_stride", from_stride, bytes, INT32_MAX);
        if (!check.ok() || rows == 0 || bytes == 0) return check.status();
        check.buffer("to", to, (rows - 1) * to_stride + bytes, 1).buffer("from", from, (rows - 1) * from_stride + bytes, 1);
        return check.ok() ? c.backend.copy_rows(c, to, static_cast<size_t>(to_stride), from, static_cast<size_t>(from_stride),
                                                static_cast<size_t>(bytes), static_cast<size_t>(rows)) : check.status();
    });
}

// ---- frozen weights ---------------------------------------------------------------------------------------------

// Sizes and types; with the adapters' room filled in.
static ml_weight_desc check_weight_desc(Check &check, ml_weight_desc d) {
    check.range("out_features", d.out_features, 1, kMaxFeatures)
        .range("in_features", d.in_features, 1, kMaxFeatures)
        .range("adapter_columns", d.adapter_columns, 0, kMaxFeatures)
        .require(d.data == nullptr || known_dtype(d.source_dtype), "source_dtype", "is not an ml_dtype")
        .require(d.storage_dtype == ML_F32 || d.storage_dtype == ML_BF16, "storage_dtype", "has to be ML_F32 or ML_BF16");
    d.adapter_columns = d.adapter_columns == 0 ? 64 : (d.adapter_columns + 7) / 8 * 8;
    return d;
}

int32_t ml_weight_create(ml_context *context, const ml_weight_desc *desc, ml_weight **weight) {
    const char *op = "ml_weight_create";
    return unrecordable(context, op, [&](Context &c) -> ml_status {
        if (weight == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: weight is NULL", op);
        *weight = nullptr;
        if (desc == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: desc is NULL", op);
        Check check(c, op);
        const ml_weight_desc d = check_weight_desc(check, *desc);
        if (!check.ok()) return check.status();
        const int64_t bytes = c.backend.weight_bytes(d);
        if (bytes > c.memory_total) {
            return fail(ML_OUT_OF_MEMORY, "%s: %lld bytes are more than the device has (%lld)", op,
                        static_cast<long long>(bytes), static_cast<long long>(c.memory_total));
        }
        auto created = std::make_unique<ml_weight>(
            ml_weight{&c, d.out_features, d.in_features, d.storage_dtype, d.adapter_columns, bytes, nullptr});
        if (ml_status status = take(c, static_cast<size_t>(bytes), &created->data); status != ML_OK) return status;
        ml_status status = d.data == nullptr ? ML_OK : c.backend.ops->weight_pack(c, d, *created, 0);
        if (status == ML_OK) {
            try {
                c.weights.insert(created.get());
            } catch (const std::bad_alloc &) {
                status = fail(ML_OUT_OF_MEMORY, "%s: no memory", op);
            }
        }
        if (status != ML_OK) {
            c.held -= bytes;
            c.backend.release(c, created->data);
            return status;
        }
        *weight = created.release();
        return ML_OK;
    });
}

int32_t ml_weight_destroy(ml_context *context, ml_weight *weight) {
    return unrecordable(context, "ml_weight_destroy", [&](Context &c) -> ml_status {
        if (weight == nullptr) return ML_OK;
        if (c.weights.erase(weight) == 0) {
            return fail(ML_INVALID_ARGUMENT, "ml_weight_destroy: weight: not a live weight of this context");
        }
        c.held -= weight->bytes;
        c.freed++;
        c.backend.release(c, weight->data);
        delete weight;
        return ML_OK;
    });
}

int32_t ml_weight_write(ml_context *context, ml_weight *weight, int64_t first, const ml_weight_desc *desc) {
    const char *op = "ml_weight_write";
    return unrecordable(context, op, [&](Context &c) -> ml_status {
        if (desc == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: desc is NULL", op);
        Check check(c, op);
        check.weight("weight", weight);
        const ml_weight_desc d = check_weight_desc(check, *desc);
        if (!check.ok()) return check.status();
        check.require(d.data != nullptr, "data", "is NULL")
            .require(d.storage_dtype == weight->storage_dtype, "storage_dtype", "is not the weight's")
            .range("in_features", d.in_features, weight->in_features, weight->in_features)
            .range("out_features", d.out_features, 1, weight->out_features)
            .range("first", first, 0, weight->out_features - d.out_features);
        return check.ok() ? c.backend.ops->weight_pack(c, d, *weight, first) : check.status();
    });
}

int64_t ml_weight_bytes(ml_context *context, const ml_weight_desc *desc) {
    int64_t bytes = -1;
    guarded(context, "ml_weight_bytes", [&](Context &c) -> ml_status {
        if (desc == nullptr) return fail(ML_INVALID_ARGUMENT, "ml_weight_bytes: desc is NULL");
        Check check(c, "ml_weight_bytes");
        const ml_weight_desc d = check_weight_desc(check, *desc);
        if (check.ok()) bytes = c.backend.weight_bytes(d);
        return check.status();
    });
    return bytes;
}

// ---- embedding --------------------------------------------------------------------------------------------------

int32_t ml_embedding_forward(ml_context *context, const ml_embedding_desc *desc) {
    return run_op(context, desc, "ml_embedding_forward", &OpTable::embedding_forward, [](Check &c, const ml_embedding_desc &d) {
        if (!c.size("tokens", d.tokens).weight("table", d.table).ok()) return;
        c.each_below("ids", d.ids, d.tokens, d.table->out_features);
        c.activations("y", d.y, Count(d.tokens) * d.table->in_features);
    });
}

// ---- LoRA linear, as other ops see it --------------------------------------------------------------------------

static void check_lora_linear(Check &c, const ml_lora_linear_desc &d, bool backward) {
    c.size("tokens", d.tokens).range("rank", d.rank, 0, 65536).weight("w", d.w);
    if (!c.ok()) return;
    const int64_t in = d.w->in_features, out = d.w->out_features;
    c.range("spare", d.spare, 0, kMaxFeatures);
    c.stride("x_stride", d.x_stride, Count(in) + Count(backward ? 0 : d.spare));
    c.stride("y_stride", d.y_stride, Count(out) + Count(backward ? d.spare : 0));
    c.require(d.spare == 0 || (backward ? d.y_stride : d.x_stride) != 0, "spare", "rows without a stride are dense and have none");
    if (!c.ok() || d.rank == 0) return;
    c.range("slots", d.slots, 1, kMaxSlots).range("terms", d.terms, 1, ML_LORA_TERMS).finite("scale", d.scale);
    c.require(d.dropout >= 0 && d.dropout < 1, "dropout", "has to be in [0, 1)");
    c.require(backward || d.shrunk == 0 || d.dropout == 0, "shrunk", "is not possible with dropout, which x is to go through first");
    if (!c.ok()) return;
    c.offsets("slot_offsets", d.slot_offsets, d.slots, d.tokens);
    for (int64_t i = 0; i < d.terms && c.ok(); i++) {
        const ml_lora_term &t = d.term[i];
        c.range("term.first", t.first, i == 0 ? 0 : d.term[i - 1].first + d.term[i - 1].rows, out).range("term.rows", t.rows, 1, out - t.first);
        if (d.slots > 1) c.range("slot_stride", d.slot_stride, d.rank * (in > t.rows ? in : t.rows), INT64_MAX);
        if (!c.ok()) return;
        const Count a = span(d.slots, d.slot_stride, Count(d.rank) * in), b = span(d.slots, d.slot_stride, Count(d.rank) * t.rows);
        c.floats("a", t.a, a).floats("b", t.b, b);
        if (backward) c.floats("da", t.da, a).floats("db", t.db, b);
    }
    c.floats("h", d.h, Count(d.tokens) * d.terms * d.rank);
}

static ml_context::Shrunk shrunk_of(const ml_lora_linear_desc &d) { return {d.w, d.x, d.h, d.term[0].a, d.slots, d.spare}; }

// The linear whose shrink an op does on the way, of the rows that it writes.
static void check_next(Check &c, const ml_lora_linear_desc *next, const void *y, int64_t rows, int64_t width, int64_t stride) {
    if (!c.ok() || next == nullptr) return;
    const ml_lora_linear_desc &d = *next;
    check_lora_linear(c, d, false);
    if (!c.ok()) return;
    c.require(d.rank > 0, "next", "has no rank: a frozen Linear has nothing to be computed before it");
    c.require(d.dropout == 0, "next", "has dropout, which its x is to go through first");
    c.require(d.x == y, "next", "its x is not y");
    c.require(d.tokens == rows, "next", "its tokens are not the rows");
    c.require(d.w->in_features == width, "next", "the in features of its w are not the width");
    c.require(stride_of(d.x_stride, width) == stride_of(stride, width), "next", "its x_stride is not the stride of y");
    c.activations("y", y, rows, width, stride, d.spare);
    if (c.ok()) c.context().shrunk = shrunk_of(d);
}

// ---- RMSNorm ----------------------------------------------------------------------------------------------------

// Rows side by side, as one of a matrix.
static Count norm_width(const ml_rmsnorm_desc &d) { return Count(d.group == 0 ? 1 : d.group) * d.width; }
static int64_t norm_groups(const ml_rmsnorm_desc &d) { return d.group == 0 ? d.rows : d.rows / d.group; }
static bool same_stride(const ml_rmsnorm_desc &d, int64_t a, int64_t b) {
    const Count width = norm_width(d);
    return width.valid() && stride_of(a, width.value()) == stride_of(b, width.value());
}

static void check_rmsnorm(Check &c, const ml_rmsnorm_desc &d) {
    c.size("rows", d.rows).positive("width", d.width).size("group", d.group);
    c.require(d.group == 0 || d.rows % d.group == 0, "rows", "are not whole groups");
    c.stride("x_stride", d.x_stride, norm_width(d)).stride("dy_stride", d.dy_stride, norm_width(d)).stride("out_stride", d.out_stride, norm_width(d));
    c.finite("eps", d.eps).require(d.eps >= 0, "eps", "is negative");
    if (!c.ok()) return;
    c.activations("x", d.x, norm_groups(d), norm_width(d), d.x_stride).floats("weight", d.weight, d.width);
}

int32_t ml_rmsnorm_forward(ml_context *context, const ml_rmsnorm_desc *desc) {
    const WithNext<ml_rmsnorm_desc> call(desc);
    return run_op(context, call.given, "ml_rmsnorm_forward", &OpTable::rmsnorm_forward, [](Check &c, const ml_rmsnorm_desc &d) {
        check_rmsnorm(c, d);
        if (!c.ok()) return;
        c.activations("y", d.y, norm_groups(d), norm_width(d), d.out_stride);
        c.require(d.y != d.x || same_stride(d, d.out_stride, d.x_stride) || d.rows == 0, "y", "may be x only where out_stride is x_stride");
        if (d.rstd != nullptr) c.floats("rstd", d.rstd, d.rows);
        c.require(d.next == nullptr || d.group <= 1, "next", "reads rows of which several lie side by side");
        check_next(c, d.next, d.y, d.rows, d.width, d.out_stride);
    });
}

int32_t ml_rmsnorm_backward(ml_context *context, const ml_rmsnorm_desc *desc) {
    return run_op(context, desc, "ml_rmsnorm_backward", &OpTable::rmsnorm_backward, [](Check &c, const ml_rmsnorm_desc &d) {
        check_rmsnorm(c, d);
        if (!c.ok()) return;
        c.floats("rstd", d.rstd, d.rows).activations("dy", d.dy, norm_groups(d), norm_width(d), d.dy_stride);
        c.activations("dx", d.dx, norm_groups(d), norm_width(d), d.out_stride);
        c.require(d.dx != d.dy || same_stride(d, d.out_stride, d.dy_stride) || d.rows == 0, "dx", "may be dy only where out_stride is dy_stride");
        c.require(d.dx != d.x || d.rows == 0, "dx", "may not be x");
        c.require(d.dx != d.dy || d.accumulate == 0 || d.rows == 0, "dx", "may be dy only when accumulate is 0");
    });
}

// ---- rotary embedding -------------------------------------------------------------------------------------------

int32_t ml_rope_table(ml_context *context, const ml_rope_table_desc *desc) {
    return run_op(context, desc, "ml_rope_table", &OpTable::rope_table, [](Check &c, const ml_rope_table_desc &d) {
        c.size("positions", d.positions).positive("head_dim", d.head_dim);
        c.require(d.head_dim % 2 == 0, "head_dim", "is odd");
        c.finite("theta", d.theta).require(d.theta > 0, "theta", "has to be above 0");
        c.range("scaling", d.scaling, ML_ROPE_PLAIN, ML_ROPE_LLAMA3);
        if (d.scaling != ML_ROPE_PLAIN) c.finite("factor", d.factor).require(d.factor > 0, "factor", "has to be above 0");
        if (d.scaling == ML_ROPE_LLAMA3) {
            c.finite("low_freq_factor", d.low_freq_factor).finite("high_freq_factor", d.high_freq_factor);
            c.require(d.low_freq_factor > 0, "low_freq_factor", "has to be above 0");
            c.require(d.high_freq_factor > d.low_freq_factor, "high_freq_factor", "has to be above low_freq_factor");
            c.finite("original_max_positions", d.original_max_positions);
            c.require(d.original_max_positions > 0, "original_max_positions", "has to be above 0");
        }
        if (!c.ok()) return;
        const Count n = Count(d.positions) * (d.head_dim / 2);
        c.floats("cos", d.cos, n).floats("sin", d.sin, n);
    });
}

static void check_rope(Check &c, const ml_rope_desc &d) {
    c.size("tokens", d.tokens).size("positions", d.positions).positive("heads", d.heads).positive("head_dim", d.head_dim);
    c.require(d.head_dim % 2 == 0, "head_dim", "is odd");
    if (!c.ok()) return;
    c.stride("stride", d.stride, Count(d.heads) * d.head_dim).activations("x", d.x, d.tokens, Count(d.heads) * d.head_dim, d.stride);
    const Count n = Count(d.positions) * (d.head_dim / 2);
    c.floats("cos", d.cos, n).floats("sin", d.sin, n).each_below("position", d.position, d.tokens, d.positions);
}

int32_t ml_rope_forward(ml_context *context, const ml_rope_desc *desc) {
    return run_op(context, desc, "ml_rope_forward", &OpTable::rope_forward, check_rope);
}

int32_t ml_rope_backward(ml_context *context, const ml_rope_desc *desc) {
    return run_op(context, desc, "ml_rope_backward", &OpTable::rope_backward, check_rope);
}

// ---- attention --------------------------------------------------------------------------------------------------

// Sizes and offsets; gives the number of keys.
static int64_t check_attention(Check &c, const ml_attention_desc &d, const int32_t *kv_offsets) {
    c.size("tokens", d.tokens).size("sequences", d.sequences);
    c.range("heads", d.heads, 1, kMaxHeads).positive("kv_heads", d.kv_heads).positive("head_dim", d.head_dim);
    if (!c.ok()) return 0;
    c.require(d.heads % d.kv_heads == 0, "kv_heads", "does not divide heads");
    c.stride("q_stride", d.q_stride, Count(d.heads) * d.head_dim).stride("kv_stride", d.kv_stride, Count(d.kv_heads) * d.head_dim);
    c.stride("o_stride", d.o_stride, Count(d.heads) * d.head_dim);
    c.size("window", d.window).finite("scale", d.scale).size("max_length", d.max_length);
    c.require(d.scale > 0, "scale", "has to be positive");
    c.offsets("q_offsets", d.q_offsets, d.sequences, d.tokens);
    if (!c.ok()) return 0;
    for (int64_t s = 0; s < d.sequences && c.reads_contents(); s++) {
        c.require(d.q_offsets[s + 1] - d.q_offsets[s] <= d.max_length, "max_length", "is below the longest segment of q_offsets");
    }
    if (kv_offsets == nullptr) return d.tokens;
    c.offsets("kv_offsets", kv_offsets, d.sequences);
    if (!c.ok() || !c.reads_contents()) return 0;
    for (int64_t s = 0; s < d.sequences; s++) {
        c.require(kv_offsets[s + 1] - kv_offsets[s] >= d.q_offsets[s + 1] - d.q_offsets[s], "kv_offsets",
                  "a sequence has fewer keys than queries");
    }
    return c.ok() ? kv_offsets[d.sequences] : 0;
}

int32_t ml_attention_forward(ml_context *context, const ml_attention_desc *desc) {
    return run_op(context, desc, "ml_attention_forward", &OpTable::attention_forward, [](Check &c, const ml_attention_desc &d) {
        const int64_t keys = check_attention(c, d, d.kv_offsets);
        if (!c.ok()) return;
        const Count q = Count(d.heads) * d.head_dim, kv = Count(d.kv_heads) * d.head_dim;
        c.activations("q", d.q, d.tokens, q, d.q_stride).activations("o", d.o, d.tokens, q, d.o_stride);
        c.activations("k", d.k, keys, kv, d.kv_stride).activations("v", d.v, keys, kv, d.kv_stride);
        if (d.lse != nullptr) c.floats("lse", d.lse, Count(d.tokens) * d.heads);
    });
}

int32_t ml_attention_backward(ml_context *context, const ml_attention_desc *desc) {
    return run_op(context, desc, "ml_attention_backward", &OpTable::attention_backward, [](Check &c, const ml_attention_desc &d) {
        check_attention(c, d, nullptr);
        if (!c.ok()) return;
        const Count q = Count(d.heads) * d.head_dim, kv = Count(d.kv_heads) * d.head_dim;
        c.activations("q", d.q, d.tokens, q, d.q_stride).activations("o", d.o, d.tokens, q, d.o_stride);
        c.activations("k", d.k, d.tokens, kv, d.kv_stride).activations("v", d.v, d.tokens, kv, d.kv_stride);
        c.floats("lse", d.lse, Count(d.tokens) * d.heads).activations("d_o", d.d_o, d.tokens, q, 0);
        c.activations("dq", d.dq, d.tokens, q, d.q_stride);
        c.activations("dk", d.dk, d.tokens, kv, d.kv_stride).activations("dv", d.dv, d.tokens, kv, d.kv_stride);
        for (const void *gradient : {d.dq, d.dk, d.dv}) {
            c.require(d.tokens == 0 || (gradient != d.q && gradient != d.k && gradient != d.v && gradient != d.o && gradient != d.d_o),
                      "dq, dk, dv", "may not be q, k, v, o or d_o");
        }
    });
}

// ---- LoRA linear ------------------------------------------------------------------------------------------------

int32_t ml_lora_linear_forward(ml_context *context, const ml_lora_linear_desc *desc) {
    return run_op(context, desc, "ml_lora_linear_forward", &OpTable::lora_linear_forward, [](Check &c, const ml_lora_linear_desc &d) {
        check_lora_linear(c, d, false);
        c.require(d.shrunk == 0 || d.rank == 0 || c.context().shrunk == shrunk_of(d), "shrunk",
                  "the last op with a `next` had another one, or a LoRA linear was called since");
        c.context().shrunk = {};
        if (!c.ok()) return;
        c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride, d.spare);
        c.activations("y", d.y, d.tokens, d.w->out_features, d.y_stride);
        if (d.bias != nullptr) c.floats("bias", d.bias, d.w->out_features);
        if (d.residual != nullptr) c.activations("residual", d.residual, d.tokens, d.w->out_features, d.y_stride);
        c.require(d.x != d.y || d.tokens == 0, "y", "may not be x");
    });
}

int32_t ml_lora_linear_backward(ml_context *context, const ml_lora_linear_desc *desc) {
    return run_op(context, desc, "ml_lora_linear_backward", &OpTable::lora_linear_backward, [](Check &c, const ml_lora_linear_desc &d) {
        check_lora_linear(c, d, true);
        c.context().shrunk = {};
        if (!c.ok()) return;
        if (d.rank > 0) c.activations("x", d.x, d.tokens, d.w->in_features, d.x_stride);
        c.activations("dy", d.dy, d.tokens, d.w->out_features, d.y_stride, d.spare);
        if (d.dx != nullptr) c.activations("dx", d.dx, d.tokens, d.w->in_features, 0);
        c.require(d.dx == nullptr || d.dx != d.dy || d.tokens == 0, "dx", "may not be dy");
        c.require(d.dx == nullptr || d.dx != d.x || d.rank == 0 || d.tokens == 0, "dx", "may not be x");
    });
}

// ---- SwiGLU -----------------------------------------------------------------------------------------------------

static void check_swiglu(Check &c, const ml_swiglu_desc &d) {
    c.range("rows", d.rows, 0, INT64_MAX).range("width", d.width, 0, INT64_MAX);
    c.stride("gate_stride", d.gate_stride, d.width).stride("y_stride", d.y_stride, d.width);
    if (!c.ok()) return;
    c.activations("gate", d.gate, d.rows, d.width, d.gate_stride).activations("up", d.up, d.rows, d.width, d.gate_stride);
}

int32_t ml_swiglu_forward(ml_context *context, const ml_swiglu_desc *desc) {
    const WithNext<ml_swiglu_desc> call(desc);
    return run_op(context, call.given, "ml_swiglu_forward", &OpTable::swiglu_forward, [](Check &c, const ml_swiglu_desc &d) {
        check_swiglu(c, d);
        c.activations("y", d.y, d.rows, d.width, d.y_stride);
        c.require((d.y != d.gate && d.y != d.up) || stride_of(d.y_stride, d.width) == stride_of(d.gate_stride, d.width) || d.rows == 0, "y",
                  "may be gate or up only where both have the same stride");
        check_next(c, d.next, d.y, d.rows, d.width, d.y_stride);
    });
}

int32_t ml_swiglu_backward(ml_context *context, const ml_swiglu_desc *desc) {
    return run_op(context, desc, "ml_swiglu_backward", &OpTable::swiglu_backward, [](Check &c, const ml_swiglu_desc &d) {
        check_swiglu(c, d);
        c.activations("dy", d.dy, d.rows, d.width, 0);
        c.activations("dgate", d.dgate, d.rows, d.width, d.gate_stride).activations("dup", d.dup, d.rows, d.width, d.gate_stride);
        c.require(d.dgate != d.dup || d.rows == 0 || d.width == 0, "dup", "may not be dgate");
        c.require((d.dgate != d.dy && d.dup != d.dy) || dense(d.gate_stride, d.width) || d.rows == 0, "dgate, dup",
                  "may be dy only where gate_stride is dense");
    });
}

// ---- lm_head + cross-entropy ------------------------------------------------------------------------------------

int32_t ml_cross_entropy(ml_context *context, const ml_cross_entropy_desc *desc) {
    return run_op(context, desc, "ml_cross_entropy", &OpTable::cross_entropy, [](Check &c, const ml_cross_entropy_desc &d) {
        // Without dx a row may be asked about several targets.
        c.size("tokens", d.tokens).range("count", d.count, 0, d.dx != nullptr ? d.tokens : INT64_MAX).weight("w", d.w);
        if (!c.ok()) return;
        const Count n = Count(d.tokens) * d.w->in_features;
        c.activations("x", d.x, n);
        if (d.dx != nullptr) c.ascending("rows", d.rows, d.count, d.tokens);
        else c.each_below("rows", d.rows, d.count, d.tokens);
        c.each_below("target", d.target, d.count, d.w->out_features).floats("logprob", d.logprob, d.count);
        if (d.argmax != nullptr) c.ints("argmax", d.argmax, d.count);
        if (d.dx != nullptr) c.floats("row_scale", d.row_scale, d.count).activations("dx", d.dx, n);
        c.require(d.dx == nullptr || d.dx != d.x || d.tokens == 0, "dx", "may not be x");
    });
}

// ---- vectors ----------------------------------------------------------------------------------------------------

int32_t ml_fill(ml_context *context, float *values, int64_t count, float value) {
    return recordable(context, "ml_fill", [&](Context &c) -> ml_status {
        Check check(c, "ml_fill");
        check.range("count", count, 0, INT64_MAX).floats("values", values, count);
        return check.ok() ? c.backend.ops->fill(c, values, count, value) : check.status();
    });
}

// Slots of `count` floats, `stride` apart, do not overlap.
static bool check_slots(Check &c, int64_t count, int64_t stride, int64_t slots) {
    c.range("count", count, 0, INT64_MAX).range("slots", slots, 0, kMaxSlots);
    if (slots > 1) c.range("stride", stride, count, INT64_MAX);
    return c.ok();
}

int32_t ml_broadcast(ml_context *context, float *to, const float *from, int64_t count, int64_t stride, int64_t slots) {
    return recordable(context, "ml_broadcast", [&](Context &c) -> ml_status {
        Check check(c, "ml_broadcast");
        if (check_slots(check, count, stride, slots)) {
            check.floats("to", to, span(slots, stride, count)).floats("from", from, slots == 0 ? 0 : count);
        }
        return check.ok() ? c.backend.ops->broadcast(c, to, from, count, stride, slots) : check.status();
    });
}

int32_t ml_clip_global_norm(ml_context *context, const ml_clip_desc *desc) {
    return run_op(context, desc, "ml_clip_global_norm", &OpTable::clip_global_norm, [](Check &c, const ml_clip_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        c.floats("grad", d.grad, span(d.slots, d.stride, d.count)).floats("norm", d.norm, d.slots);
        c.finite("max_norm", d.max_norm).require(d.max_norm >= 0, "max_norm", "is negative");
    });
}

int32_t ml_sgd_step(ml_context *context, const ml_sgd_desc *desc) {
    return run_op(context, desc, "ml_sgd_step", &OpTable::sgd_step, [](Check &c, const ml_sgd_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        const Count n = span(d.slots, d.stride, d.count);
        c.floats("parameter", d.parameter, n).floats("grad", d.grad, n).finite("lr", d.lr).finite("weight_decay", d.weight_decay);
    });
}

int32_t ml_adamw_step(ml_context *context, const ml_adamw_desc *desc) {
    return run_op(context, desc, "ml_adamw_step", &OpTable::adamw_step, [](Check &c, const ml_adamw_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        const Count n = span(d.slots, d.stride, d.count);
        c.floats("parameter", d.parameter, n).floats("grad", d.grad, n).floats("m", d.m, n).floats("v", d.v, n);
        if (d.norm != nullptr) c.floats("norm", d.norm, d.slots);
        c.range("step", d.step, 1, INT64_MAX).finite("lr", d.lr).finite("weight_decay", d.weight_decay);
        c.require(d.beta1 >= 0 && d.beta1 < 1, "beta1", "has to be in [0, 1)");
        c.require(d.beta2 >= 0 && d.beta2 < 1, "beta2", "has to be in [0, 1)");
        c.finite("eps", d.eps).require(d.eps >= 0, "eps", "is negative");
    });
}

int32_t ml_task_reduce(ml_context *context, const ml_task_reduce_desc *desc) {
    return run_op(context, desc, "ml_task_reduce", &OpTable::task_reduce, [](Check &c, const ml_task_reduce_desc &d) {
        if (!check_slots(c, d.count, d.stride, d.slots)) return;
        c.range("slots", d.slots, 0, 4096).floats("grad", d.grad, span(d.slots, d.stride, d.count));
        c.require(d.out != nullptr || d.gram != nullptr, "out", "and gram are both NULL: nothing to compute");
        if (d.out != nullptr) c.floats("weight", d.weight, d.slots).floats("out", d.out, d.count);
        if (d.gram != nullptr) c.doubles("gram", d.gram, Count(d.slots) * d.slots);
    });
}

// ---- scratch memory ---------------------------------------------------------------------------------------------

int32_t ml_plan_begin(ml_context *context) {
    return unrecordable(context, "ml_plan_begin", [&](Context &c) -> ml_status {
        if (c.backend.graphs == nullptr) {
            return fail(ML_UNSUPPORTED, "ml_plan_begin: plan: ops of the CPU backend take host memory as they run");
        }
        c.recording.start(true);
        c.scratch.begin_plan();
        return ML_OK;
    });
}

int32_t ml_plan_end(ml_context *context, int64_t *scratch_bytes) {
    const char *op = "ml_plan_end";
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (scratch_bytes != nullptr) *scratch_bytes = 0;
        if (!c.recording.active || !c.recording.plan) {
            return fail(ML_INVALID_ARGUMENT, "%s: nothing is being planned; call ml_plan_begin first", op);
        }
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        c.recording.active = false;
        const size_t bytes = c.scratch.end_plan();
        if (c.recording.status != ML_OK) return fail(c.recording.status, "%s: an op of the plan failed: %s", op, c.recording.text.c_str());
        if (!c.scratch.hold(bytes)) {
            return fail(ML_OUT_OF_MEMORY, "%s: no device memory for %zu bytes of scratch space, which %s takes: this context holds "
                        "%lld, the device has %lld of %lld left", op, bytes, c.recording.largest.c_str(), static_cast<long long>(c.in_use()),
                        static_cast<long long>(c.backend.memory_free(c)), static_cast<long long>(c.memory_total));
        }
        c.note_peak();
        if (scratch_bytes != nullptr) *scratch_bytes = static_cast<int64_t>(bytes);
        return ML_OK;
    });
}

// ---- graphs -----------------------------------------------------------------------------------------------------

int32_t ml_graph_begin(ml_context *context) {
    return unrecordable(context, "ml_graph_begin", [&](Context &c) -> ml_status {
        if (c.backend.graphs == nullptr) {
            return fail(ML_UNSUPPORTED, "ml_graph_begin: graph: the CPU backend records none; call the ops themselves");
        }
        if (ml_status status = c.backend.graphs->begin(c); status != ML_OK) return status;
        c.recording.start(false);
        return ML_OK;
    });
}

int32_t ml_graph_end(ml_context *context, ml_graph **graph) {
    const char *op = "ml_graph_end";
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (graph != nullptr) *graph = nullptr;
        if (c.backend.graphs == nullptr) return fail(ML_UNSUPPORTED, "%s: graph: the CPU backend records none", op);
        if (!c.recording.active || c.recording.plan) return fail(ML_INVALID_ARGUMENT, "%s: nothing is being recorded; call ml_graph_begin first", op);
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        c.recording.active = false;
        if (graph == nullptr || c.recording.status != ML_OK) {
            c.backend.graphs->end(c, nullptr);
            if (graph == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: graph is NULL; what was recorded is gone", op);
            return fail(c.recording.status, "%s: an op of the recording failed: %s", op, c.recording.text.c_str());
        }
        void *recorded = nullptr;
        if (ml_status status = c.backend.graphs->end(c, &recorded); status != ML_OK) return status;
        try {
            auto made = std::make_unique<ml_graph>(ml_graph{c.generation(), recorded});
            c.graphs.insert(made.get());
            *graph = made.release();
        } catch (...) {
            c.backend.graphs->destroy(c, recorded);
            throw;
        }
        return ML_OK;
    });
}

int32_t ml_graph_launch(ml_context *context, ml_graph *graph) {
    const char *op = "ml_graph_launch";
    return unrecordable(context, op, [&](Context &c) -> ml_status {
        if (c.graphs.count(graph) == 0) return fail(ML_INVALID_ARGUMENT, "%s: graph: not a live graph of this context", op);
        if (graph->generation != c.generation()) {
            return fail(ML_INVALID_ARGUMENT, "%s: graph: memory it may use has gone since it was recorded (a buffer or a weight was freed, "
                        "or scratch memory moved); destroy it and record anew", op);
        }
        return c.backend.graphs->launch(c, graph->recorded);
    });
}

int32_t ml_graph_destroy(ml_context *context, ml_graph *graph) {
    return unrecordable(context, "ml_graph_destroy", [&](Context &c) -> ml_status {
        if (graph == nullptr) return ML_OK;
        if (c.graphs.erase(graph) == 0) return fail(ML_INVALID_ARGUMENT, "ml_graph_destroy: graph: not a live graph of this context");
        c.backend.graphs->destroy(c, graph->recorded);
        delete graph;
        return ML_OK;
    });
}

}  // extern "C"
