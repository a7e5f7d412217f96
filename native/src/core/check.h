// Argument validation: the first thing wrong with a descriptor, in words that name the op and the field.
#pragma once

#include "core/context.h"
#include "core/error.h"

namespace metalora {

// A product of sizes; negative factors and overflow make it invalid.
class Count {
public:
    Count(int64_t n) : value_(n), valid_(n >= 0) {}
    Count operator*(Count other) const {
        Count product(0);
        product.valid_ = valid_ && other.valid_ && !__builtin_mul_overflow(value_, other.value_, &product.value_);
        return product;
    }
    Count operator+(Count other) const {
        Count sum(0);
        sum.valid_ = valid_ && other.valid_ && !__builtin_add_overflow(value_, other.value_, &sum.value_);
        return sum;
    }
    bool valid() const { return valid_; }
    int64_t value() const { return value_; }

private:
    int64_t value_;
    bool valid_;
};

class Check {
public:
    Check(Context &context, const char *op) : context_(context), op_(op) {}

    // Whose fields are checked from here on, where an op takes several descriptors: "norm" gives "norm.x" in messages.
    void of(const char *descriptor) { of_ = descriptor; }

    ml_status status() const { return status_; }
    bool ok() const { return status_ == ML_OK; }
    bool reads_contents() const { return context_.backend.host_readable; }  // of arrays in device memory

    // first <= value <= last
    Check &range(const char *field, int64_t value, int64_t first, int64_t last);
    Check &positive(const char *field, int64_t value) { return range(field, value, 1, INT32_MAX); }
    Check &size(const char *field, int64_t value) { return range(field, value, 0, INT32_MAX); }
    Check &finite(const char *field, double value);
    Check &require(bool condition, const char *field, const char *problem);

    // The pointer has to lie in memory of the context with room for that many elements. No elements: anything goes.
    Check &buffer(const char *field, const void *pointer, Count elements, size_t element_bytes);
    Check &floats(const char *field, const void *pointer, Count n) { return buffer(field, pointer, n, sizeof(float)); }
    Check &doubles(const char *field, const void *pointer, Count n) { return buffer(field, pointer, n, sizeof(double)); }
    Check &ints(const char *field, const void *pointer, Count n) { return buffer(field, pointer, n, sizeof(int32_t)); }
    Check &activations(const char *field, const void *pointer, Count n);
    // Rows of `width`, `stride` apart (0: dense), each with so many columns behind it.
    Check &activations(const char *field, const void *pointer, int64_t rows, Count width, int64_t stride, int64_t spare = 0);
    Check &stride(const char *field, int64_t stride, Count least);  // 0, or at least so much

    Check &weight(const char *field, const ml_weight *weight);

    // Contents, where the host can read them.
    Check &offsets(const char *field, const int32_t *offsets, int64_t segments, int64_t end);
    Check &offsets(const char *field, const int32_t *offsets, int64_t segments);  // any end
    Check &each_below(const char *field, const int32_t *values, int64_t count, int64_t limit);
    Check &ascending(const char *field, const int32_t *values, int64_t count, int64_t limit);

private:
    // What is wrong with a field, behind the names of the op, the descriptor and the field.
    void report(const char *field, const char *problem, ...) __attribute__((format(printf, 3, 4)));

    Context &context_;
    const char *op_, *of_ = "";
    ml_status status_ = ML_OK;
};

}  // namespace metalora
