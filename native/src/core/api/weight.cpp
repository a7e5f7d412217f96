// Frozen weights: made, filled, given back.
#include <new>

#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

static bool known_dtype(int32_t dtype) { return dtype == ML_F32 || dtype == ML_BF16 || dtype == ML_F16; }

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
        if (ml_status status = take_memory(c, static_cast<size_t>(bytes), &created->data); status != ML_OK) return status;
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
