// Device memory: taken, given back, copied.
#include "core/api/call.h"

using namespace metalora;

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
        if (ml_status status = take_memory(c, static_cast<size_t>(bytes), &memory); status != ML_OK) return status;
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
