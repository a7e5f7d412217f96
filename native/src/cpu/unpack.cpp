#include "cpu/unpack.h"

#include "cpu/round_bf16.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

void unpack(const ml_weight &w, int64_t panel0, int64_t panel1, int64_t k0, int64_t count, float *block) {
    const int64_t in = weight_in(w);
    for (int64_t panel = panel0; panel < panel1; panel++) {
        const int64_t at = (panel * in + k0) * kPanel;
        float *to = block + (panel - panel0) * count * kPanel;
        if (weight_is_bf16(w)) {
            const uint16_t *from = static_cast<const uint16_t *>(weight_data(w)) + at;
            for (int64_t i = 0; i < count * kPanel; i += kWidth) store(to + i, load_bf16(from + i));
        } else {
            memcpy(to, static_cast<const float *>(weight_data(w)) + at, count * kPanel * sizeof(float));
        }
    }
}

#if defined(__AVX2__)

// Rows of eight floats from eight columns.
static inline void transpose8(__m256 (&r)[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
        u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

// to[n][k] = from[k][n], kPanel x kPanel.
template <bool Bf16>
static inline void transpose_square(const void *from, float *to) {
    for (int n = 0; n < kPanel; n += 8) {
        for (int k = 0; k < kPanel; k += 8) {
            __m256 rows[8];
            for (int i = 0; i < 8; i++) {
                const int64_t at = (k + i) * kPanel + n;
                if (Bf16) {
                    const __m128i bits = _mm_loadu_si128((const __m128i *)(static_cast<const uint16_t *>(from) + at));
                    rows[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
                } else {
                    rows[i] = _mm256_loadu_ps(static_cast<const float *>(from) + at);
                }
            }
            transpose8(rows);
            for (int i = 0; i < 8; i++) _mm256_storeu_ps(to + (n + i) * kPanel + k, rows[i]);
        }
    }
}

#else

template <bool Bf16>
static inline void transpose_square(const void *from, float *to) {
    for (int k = 0; k < kPanel; k++) {
        for (int n = 0; n < kPanel; n++) {
            to[n * kPanel + k] = Bf16 ? float_of_bf16(static_cast<const uint16_t *>(from)[k * kPanel + n])
                                      : static_cast<const float *>(from)[k * kPanel + n];
        }
    }
}

#endif

template <bool Bf16>
static void unpack_transposed_as(const ml_weight &w, int64_t panel0, int64_t panel1, int64_t n0, int64_t count, float *block) {
    const int64_t in = weight_in(w), element = Bf16 ? 2 : 4;
    const char *data = static_cast<const char *>(weight_data(w));
    for (int64_t n = n0; n < n0 + count; n += kPanel) {
        const int64_t rows = n0 + count - n < kPanel ? n0 + count - n : kPanel;
        for (int64_t panel = panel0; panel < panel1; panel++) {
            const int64_t k = panel * kPanel, width = in - k < kPanel ? in - k : kPanel;
            const char *from = data + (n / kPanel * in + k) * kPanel * element;
            float *to = block + ((panel - panel0) * count + (n - n0)) * kPanel;
            if (rows == kPanel && width == kPanel) {
                transpose_square<Bf16>(from, to);
                continue;
            }
            for (int64_t r = 0; r < rows; r++) {
                for (int64_t i = 0; i < kPanel; i++) {
                    to[r * kPanel + i] = i >= width ? 0.0f
                                         : Bf16 ? float_of_bf16(reinterpret_cast<const uint16_t *>(from)[i * kPanel + r])
                                                : reinterpret_cast<const float *>(from)[i * kPanel + r];
                }
            }
        }
    }
}

void unpack_transposed(const ml_weight &w, int64_t panel0, int64_t panel1, int64_t n0, int64_t count, float *block) {
    if (weight_is_bf16(w)) unpack_transposed_as<true>(w, panel0, panel1, n0, count, block);
    else unpack_transposed_as<false>(w, panel0, panel1, n0, count, block);
}

#if defined(__AVX512F__)

void unpack_pairs(const ml_weight &w, int64_t panel0, int64_t panel1, int64_t step0, int64_t count, float *block) {
    const int64_t in = weight_in(w);
    alignas(64) uint16_t interleaved[2 * kPanel];
    for (int i = 0; i < kPanel; i++) interleaved[2 * i] = uint16_t(i), interleaved[2 * i + 1] = uint16_t(kPanel + i);
    const __m512i order = _mm512_load_si512(interleaved);
    for (int64_t panel = panel0; panel < panel1; panel++) {
        const uint16_t *from = static_cast<const uint16_t *>(weight_data(w)) + (panel * in + 2 * step0) * kPanel;
        float *to = block + (panel - panel0) * count * kPanel;
        for (int64_t step = 0; step < count; step++) {
            const bool whole = 2 * (step0 + step) + 2 <= in;  // else the second of the pair is zero
            const __m512i rows = _mm512_maskz_loadu_epi16(whole ? ~0u : 0xFFFFu, from + 2 * step * kPanel);
            _mm512_storeu_ps(to + step * kPanel, _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, rows)));
        }
    }
}

void unpack_pairs_transposed(const ml_weight &w, int64_t panel0, int64_t panel1, int64_t step0, int64_t count, float *block) {
    const int64_t in = weight_in(w);
    const uint16_t *data = static_cast<const uint16_t *>(weight_data(w));
    constexpr int64_t half = kPanel / 2;  // pairs in a row of a panel
    for (int64_t step = step0; step < step0 + count; step += half) {
        const int64_t steps = step0 + count - step < half ? step0 + count - step : half;
        for (int64_t panel = panel0; panel < panel1; panel++) {
            const int64_t k = panel * kPanel, width = in - k < kPanel ? in - k : kPanel;
            const uint16_t *from = data + (step / half * in + k) * kPanel;
            float *to = block + ((panel - panel0) * count + step - step0) * kPanel;
            if (steps == half && width == kPanel) {
                for (int64_t i = 0; i < kPanel; i += half) {
                    __m256 rows[half];
                    for (int64_t r = 0; r < half; r++) {
                        rows[r] = _mm256_castsi256_ps(_mm256_loadu_si256((const __m256i *)(from + (i + r) * kPanel)));
                    }
                    transpose8(rows);
                    for (int64_t r = 0; r < half; r++) _mm256_storeu_ps(to + r * kPanel + i, rows[r]);
                }
                continue;
            }
            for (int64_t s = 0; s < steps; s++) {
                for (int64_t i = 0; i < kPanel; i++) {
                    uint32_t pair = 0;
                    if (i < width) memcpy(&pair, from + i * kPanel + 2 * s, sizeof pair);
                    memcpy(to + s * kPanel + i, &pair, sizeof pair);
                }
            }
        }
    }
}

#endif

void unpack_row(const ml_weight &w, int64_t n, float *row) {
    const int64_t in = weight_in(w), at = n / kPanel * in * kPanel + n % kPanel;
    if (weight_is_row_major(w)) {
        memcpy(row, static_cast<const float *>(weight_data(w)) + n * in, in * sizeof(float));
        return;
    }
    if (weight_is_bf16(w)) {
        const uint16_t *from = static_cast<const uint16_t *>(weight_data(w)) + at;
        for (int64_t k = 0; k < in; k++) row[k] = float_of_bf16(from[k * kPanel]);
    } else {
        const float *from = static_cast<const float *>(weight_data(w)) + at;
        for (int64_t k = 0; k < in; k++) row[k] = from[k * kPanel];
    }
}

}  // namespace METALORA_ISA
}  // namespace metalora
