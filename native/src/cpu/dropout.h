// Inverted dropout with a counter-based generator: the mask is a function of (seed, stream, token, column) alone, so
// that backward draws it again instead of keeping it.
#pragma once

#include <stdint.h>

namespace metalora {
namespace METALORA_ISA {

// Philox4x32-10 (Salmon et al. 2011).
static inline void philox(uint32_t (&counter)[4], uint64_t seed) {
    uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = uint64_t(0xD2511F53u) * counter[0], product1 = uint64_t(0xCD9E8D57u) * counter[2];
        const uint32_t next0 = uint32_t(product1 >> 32) ^ counter[1] ^ key0, next2 = uint32_t(product0 >> 32) ^ counter[3] ^ key1;
        counter[0] = next0;
        counter[1] = uint32_t(product1);
        counter[2] = next2;
        counter[3] = uint32_t(product0);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

struct Dropout {
    uint64_t seed, stream;
    uint32_t threshold;  // an element is dropped when its random word is below
    float keep_scale;    // 1 / (1 - dropout)

    Dropout(float dropout, uint64_t seed, uint64_t stream)
        : seed(seed), stream(stream), threshold(uint32_t(double(dropout) * 4294967296.0)), keep_scale(1.0f / (1.0f - dropout)) {}

    // factors[0 .. 4) of columns 4 * quad ..: 0 or keep_scale.
    void factors(int64_t token, int64_t quad, float (&factors)[4]) const {
        uint32_t words[4] = {uint32_t(quad), uint32_t(token), uint32_t(stream), uint32_t(stream >> 32)};
        philox(words, seed);
        for (int i = 0; i < 4; i++) factors[i] = words[i] < threshold ? 0.0f : keep_scale;
    }

    // to[i] = from[i] * mask(token, column + i) for i < width; column is a multiple of 4. `to` may be `from`.
    void apply(int64_t token, int64_t column, const float *from, float *to, int64_t width) const {
        for (int64_t first = 0; first < width; first += 4) {
            float mask[4];
            factors(token, (column + first) / 4, mask);
            for (int64_t i = first; i < first + 4 && i < width; i++) to[i] = from[i] * mask[i - first];
        }
    }
};

}  // namespace METALORA_ISA
}  // namespace metalora
