// Contexts: made, asked about, waited for, destroyed.
#include <cstdio>
#include <memory>

#include "core/api/call.h"

using namespace metalora;

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
        info->capabilities = c.backend.capabilities;
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
