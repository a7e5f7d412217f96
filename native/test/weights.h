// Frozen weights of the tests: what is uploaded, and the numbers the library must then compute with.
#pragma once

#include "harness.h"

namespace test {

// A random [out, in] matrix and how it is stored.
struct FrozenMatrix {
    FrozenMatrix(Random &random, int64_t out, int64_t in, int32_t storage, double deviation = 1)
        : out(out), in(in), storage(storage), source(random.normal(out * in, deviation)), values(wide(source)) {
        if (storage == ML_BF16) for (auto &x : values) x = from_bf16(to_bf16(static_cast<float>(x)));
    }
    int64_t out, in;
    int32_t storage;
    std::vector<float> source;
    std::vector<double> values;  // after rounding to the storage type
};

class Weight {
public:
    Weight(Device &device, const FrozenMatrix &m) : device_(device) {
        create({m.source.data(), ML_F32, m.storage, m.out, m.in, 0});
    }
    Weight(Device &device, const ml_weight_desc &d) : device_(device) { create(d); }
    ~Weight() { EXPECT_OK(ml_weight_destroy(device_, weight_)); }
    Weight(const Weight &) = delete;
    Weight &operator=(const Weight &) = delete;
    operator ml_weight *() const { return weight_; }

private:
    void create(const ml_weight_desc &d) { EXPECT_OK(ml_weight_create(device_, &d, &weight_)); }
    Device &device_;
    ml_weight *weight_ = nullptr;
};

}  // namespace test
