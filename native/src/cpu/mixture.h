// What the heads of a mixture add to a LoRA linear: the softmax of the router's products, and for each token and term the heads'
// share of h forward, and of u and the router backward.
#pragma once

#include "metalora.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

// w = softmax(w), `heads` numbers.
static inline void softmax(float *w, int64_t heads) {
    float most = w[0], total = 0;
    for (int64_t j = 1; j < heads; j++) most = w[j] > most ? w[j] : most;
    for (int64_t j = 0; j < heads; j += kWidth) {
        const int n = static_cast<int>(heads - j < kWidth ? heads - j : kWidth);
        store_first(w + j, exp(load_first(w + j, n) - broadcast(most)), n);
    }
    for (int64_t j = 0; j < heads; j++) total += w[j];
    for (int64_t j = 0; j < heads; j++) w[j] /= total;
}

// mixed[j * rank + i] = w[j] h[i]
static inline void mix(const float *w, const float *h, int64_t heads, int64_t rank, float *mixed) {
    for (int64_t j = 0; j < heads; j++)
        for (int64_t i = 0; i < rank; i++) mixed[j * rank + i] = w[j] * h[i];
}

// From u, laid out as mixed is: d_h = sum_j w[j] u[j], and the gradient of the router's products, d_z.
static inline void unmix(const float *w, const float *h, const float *u, int64_t heads, int64_t rank, float *d_h, float *d_z) {
    float mean = 0;
    for (int64_t i = 0; i < rank; i++) d_h[i] = 0;
    for (int64_t j = 0; j < heads; j++) {
        float d_w = 0;
        for (int64_t i = 0; i < rank; i++) {
            d_w += u[j * rank + i] * h[i];
            d_h[i] += w[j] * u[j * rank + i];
        }
        d_z[j] = d_w;
        mean += w[j] * d_w;
    }
    for (int64_t j = 0; j < heads; j++) d_z[j] = w[j] * (d_z[j] - mean);
}

}  // namespace METALORA_ISA
}  // namespace metalora
