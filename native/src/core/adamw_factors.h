// What AdamW computes once a step, in double, the same on every backend (Loshchilov and Hutter 2019, as torch.optim.AdamW).
#pragma once

#include <math.h>

#include "metalora.h"

namespace metalora {

struct AdamWFactors {
    float rest1, rest2;  // 1 - beta1, 1 - beta2
    float keep;          // 1 - lr * weight decay
    float step;          // lr / (1 - beta1^t)
    float unbias;        // of sqrt(v)
};

static inline AdamWFactors adamw_factors(const ml_adamw_desc &d) {
    const double t = static_cast<double>(d.step), lr = d.lr, b1 = d.beta1, b2 = d.beta2;
    return {static_cast<float>(1 - b1), static_cast<float>(1 - b2), static_cast<float>(1 - lr * d.weight_decay),
            static_cast<float>(lr / (1 - pow(b1, t))), static_cast<float>(1 / sqrt(1 - pow(b2, t)))};
}

}  // namespace metalora
