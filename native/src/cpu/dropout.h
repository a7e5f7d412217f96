// Inverted dropout with the generator of core/philox.h, here four counters at a time where the processor can.
#pragma once

#include "core/philox.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

struct Dropout {
    uint64_t seed, stream;
    uint32_t threshold;  // an element is dropped when its random word is below
    float keep_scale;    // 1 / (1 - dropout)

    Dropout(float dropout, uint64_t seed, uint64_t stream)
        : seed(seed), stream(stream), threshold(dropout_rate(dropout).threshold), keep_scale(dropout_rate(dropout).keep_scale) {}

    // factors[0 .. 16), each 0 or keep_scale, of the columns from `column`, a multiple of 4. Four columns share a
    // counter (column / 4, token, low and high half of the stream) under the key seed.
    void factors(int64_t token, int64_t column, float *factors) const {
#if defined(__AVX2__)
        uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
        // Four counters side by side, a word in the low half of each 64-bit lane; the high half is ignored.
        __m256i word0 = _mm256_add_epi64(_mm256_set1_epi64x(column / 4), _mm256_setr_epi64x(0, 1, 2, 3));
        __m256i word1 = _mm256_set1_epi64x(token), word2 = _mm256_set1_epi64x(int64_t(stream));
        __m256i word3 = _mm256_set1_epi64x(int64_t(stream >> 32));
        for (int round = 0; round < kPhiloxRounds; round++) {
            const __m256i product0 = _mm256_mul_epu32(word0, _mm256_set1_epi64x(kPhiloxMultiplier0));
            const __m256i product1 = _mm256_mul_epu32(word2, _mm256_set1_epi64x(kPhiloxMultiplier1));
            word0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product1, 32), word1), _mm256_set1_epi64x(key0));
            word2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product0, 32), word3), _mm256_set1_epi64x(key1));
            word1 = product1;
            word3 = product0;
            key0 += kPhiloxKeyStep0;
            key1 += kPhiloxKeyStep1;
        }
        const __m256i words01 = _mm256_blend_epi32(word0, _mm256_slli_epi64(word1, 32), 0xAA);  // of counters 0 .. 3
        const __m256i words23 = _mm256_blend_epi32(word2, _mm256_slli_epi64(word3, 32), 0xAA);
        const __m256i even = _mm256_unpacklo_epi64(words01, words23), odd = _mm256_unpackhi_epi64(words01, words23);
        const __m256i bound = _mm256_set1_epi32(int32_t(threshold));
        const __m256 scale = _mm256_set1_ps(keep_scale);
        const auto put = [&](float *to, __m256i words) {
            const __m256i kept = _mm256_cmpeq_epi32(_mm256_max_epu32(words, bound), words);
            _mm256_storeu_ps(to, _mm256_and_ps(_mm256_castsi256_ps(kept), scale));
        };
        put(factors, _mm256_permute2x128_si256(even, odd, 0x20));
        put(factors + 8, _mm256_permute2x128_si256(even, odd, 0x31));
#else
        for (int quad = 0; quad < 4; quad++) {
            uint32_t words[4];
            philox_words(seed, stream, token, column / 4 + quad, words);
            for (int i = 0; i < 4; i++) factors[quad * 4 + i] = words[i] < threshold ? 0.0f : keep_scale;
        }
#endif
    }

    // to[i] = from[i] * mask(token, column + i) for i < width; column is a multiple of 4. `to` may be `from`.
    void apply(int64_t token, int64_t column, const float *from, float *to, int64_t width) const {
        alignas(64) float mask[16];
        for (int64_t first = 0; first < width; first += 16) {
            factors(token, column + first, mask);
            if (width - first >= 16) {
                for (int i = 0; i < 16; i += kWidth) store(to + first + i, load(from + first + i) * load(mask + i));
            } else {
                for (int64_t i = first; i < width; i++) to[i] = from[i] * mask[i - first];
            }
        }
    }
};

}  // namespace METALORA_ISA
}  // namespace metalora
