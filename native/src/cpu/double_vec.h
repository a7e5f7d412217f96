// Sums of float products in double precision, four at a time.
#pragma once

#include <stdint.h>
#include <string.h>

namespace metalora {
namespace METALORA_ISA {

typedef double Double4 __attribute__((vector_size(32)));

// The four floats at p.
static inline __attribute__((always_inline)) void load_double4(const float *p, Double4 &v) {
    typedef float Float4 __attribute__((vector_size(16)));
    Float4 f;
    memcpy(&f, p, sizeof f);
    v = __builtin_convertvector(f, Double4);
}

// sum over i of a[i] * b[i]; products of two floats are exact in double.
static inline double dot_double(const float *a, const float *b, int64_t n) {
    Double4 sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {}, x, y;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        load_double4(a + i, x), load_double4(b + i, y), sum0 += x * y;
        load_double4(a + i + 4, x), load_double4(b + i + 4, y), sum1 += x * y;
        load_double4(a + i + 8, x), load_double4(b + i + 8, y), sum2 += x * y;
        load_double4(a + i + 12, x), load_double4(b + i + 12, y), sum3 += x * y;
    }
    sum0 = (sum0 + sum1) + (sum2 + sum3);
    double total = (sum0[0] + sum0[1]) + (sum0[2] + sum0[3]);
    for (; i < n; i++) total += static_cast<double>(a[i]) * b[i];
    return total;
}

}  // namespace METALORA_ISA
}  // namespace metalora
