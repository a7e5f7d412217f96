// The counter-based generator behind dropout, Philox4x32-10 (Salmon et al. 2011): the mask is a function of seed, stream,
// token and column alone, the same on every backend, so that backward draws it again instead of keeping it.
#pragma once

#include <stdint.h>

#include "core/host_device.h"

namespace metalora {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxKeyStep0 = 0x9E3779B9u, kPhiloxKeyStep1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct DropoutRate {
    uint32_t threshold;  // an element is dropped when its random word is below
    float keep_scale;    // 1 / (1 - dropout)
};

static inline DropoutRate dropout_rate(float dropout) {
    return {static_cast<uint32_t>(static_cast<double>(dropout) * 4294967296.0), 1.0f / (1.0f - dropout)};
}

// The random words of columns 4 quad .. 4 quad + 3. The counter is (quad, token, low and high half of the stream), the key
// is the seed.
ML_HOST_DEVICE static inline void philox_words(uint64_t seed, uint64_t stream, int64_t token, int64_t quad, uint32_t (&words)[4]) {
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    words[0] = static_cast<uint32_t>(quad), words[1] = static_cast<uint32_t>(token);
    words[2] = static_cast<uint32_t>(stream), words[3] = static_cast<uint32_t>(stream >> 32);
    for (int round = 0; round < kPhiloxRounds; round++) {
        const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * words[0];
        const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * words[2];
        words[0] = static_cast<uint32_t>(product1 >> 32) ^ words[1] ^ key0;
        words[2] = static_cast<uint32_t>(product0 >> 32) ^ words[3] ^ key1;
        words[1] = static_cast<uint32_t>(product1);
        words[3] = static_cast<uint32_t>(product0);
        key0 += kPhiloxKeyStep0;
        key1 += kPhiloxKeyStep1;
    }
}

}  // namespace metalora
