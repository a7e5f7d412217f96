// A vector of floats, as wide as the instruction set has it. The arithmetic operators + - * / work on it.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace metalora {
namespace METALORA_ISA {

#if defined(__AVX512F__)

constexpr int kWidth = 16;
typedef __m512 Vec;
typedef __m512i VecInt;

static inline Vec load(const float *p) { return _mm512_loadu_ps(p); }
static inline void store(float *p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
// Of the two, the second when either is not a number.
static inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
// The first n (0 .. kWidth) elements; the rest reads as 0 and is not written.
static inline Vec load_first(const float *p, int n) { return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p); }
static inline void store_first(float *p, Vec v, int n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v); }
static inline float sum(Vec v) { return _mm512_reduce_add_ps(v); }
static inline float max_of(Vec v) { return _mm512_reduce_max_ps(v); }
// kWidth bf16 numbers.
static inline Vec load_bf16(const uint16_t *p) {
    __m256i bits = _mm256_loadu_si256((const __m256i *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
static inline VecInt bits_of(Vec v) { return _mm512_castps_si512(v); }
static inline Vec from_bits(VecInt v) { return _mm512_castsi512_ps(v); }
static inline VecInt broadcast_int(int32_t x) { return _mm512_set1_epi32(x); }
static inline VecInt add_int(VecInt a, VecInt b) { return _mm512_add_epi32(a, b); }
static inline VecInt sub_int(VecInt a, VecInt b) { return _mm512_sub_epi32(a, b); }
static inline VecInt half_int(VecInt a) { return _mm512_srai_epi32(a, 1); }
static inline VecInt to_exponent(VecInt a) { return _mm512_slli_epi32(a, 23); }

#elif defined(__AVX2__)

constexpr int kWidth = 8;
typedef __m256 Vec;
typedef __m256i VecInt;

static inline Vec load(const float *p) { return _mm256_loadu_ps(p); }
static inline void store(float *p, Vec v) { _mm256_storeu_ps(p, v); }
static inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
// Of the two, the second when either is not a number.
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
static inline __m256i first_mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
// The first n (0 .. kWidth) elements; the rest reads as 0 and is not written.
static inline Vec load_first(const float *p, int n) { return _mm256_maskload_ps(p, first_mask(n)); }
static inline void store_first(float *p, Vec v, int n) { _mm256_maskstore_ps(p, first_mask(n), v); }
static inline float sum(Vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float max_of(Vec v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
// kWidth bf16 numbers.
static inline Vec load_bf16(const uint16_t *p) {
    __m128i bits = _mm_loadu_si128((const __m128i *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
static inline VecInt bits_of(Vec v) { return _mm256_castps_si256(v); }
static inline Vec from_bits(VecInt v) { return _mm256_castsi256_ps(v); }
static inline VecInt broadcast_int(int32_t x) { return _mm256_set1_epi32(x); }
static inline VecInt add_int(VecInt a, VecInt b) { return _mm256_add_epi32(a, b); }
static inline VecInt sub_int(VecInt a, VecInt b) { return _mm256_sub_epi32(a, b); }
static inline VecInt half_int(VecInt a) { return _mm256_srai_epi32(a, 1); }
static inline VecInt to_exponent(VecInt a) { return _mm256_slli_epi32(a, 23); }

#else

constexpr int kWidth = 4;
typedef float Vec __attribute__((vector_size(16)));
typedef int32_t VecInt __attribute__((vector_size(16)));

static inline Vec load(const float *p) {
    Vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, Vec v) { memcpy(p, &v, sizeof v); }
static inline Vec broadcast(float x) { return Vec{x, x, x, x}; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline Vec sqrt(Vec v) {
    for (int i = 0; i < kWidth; i++) v[i] = __builtin_sqrtf(v[i]);
    return v;
}
// Of the two, the second when either is not a number.
static inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
static inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
// The first n (0 .. kWidth) elements; the rest reads as 0 and is not written.
static inline Vec load_first(const float *p, int n) {
    Vec v = {};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
static inline void store_first(float *p, Vec v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
static inline float sum(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
static inline float max_of(Vec v) {
    float m = v[0];
    for (int i = 1; i < kWidth; i++) m = v[i] > m ? v[i] : m;
    return m;
}
static inline VecInt bits_of(Vec v) { return (VecInt)v; }
static inline Vec from_bits(VecInt v) { return (Vec)v; }
// kWidth bf16 numbers.
static inline Vec load_bf16(const uint16_t *p) {
    return from_bits(VecInt{int32_t(uint32_t(p[0]) << 16), int32_t(uint32_t(p[1]) << 16), int32_t(uint32_t(p[2]) << 16),
                            int32_t(uint32_t(p[3]) << 16)});
}
static inline VecInt broadcast_int(int32_t x) { return VecInt{x, x, x, x}; }
static inline VecInt add_int(VecInt a, VecInt b) { return a + b; }
static inline VecInt sub_int(VecInt a, VecInt b) { return a - b; }
static inline VecInt half_int(VecInt a) { return a >> 1; }
static inline VecInt to_exponent(VecInt a) { return a << 23; }

#endif

static inline Vec zero() { return broadcast(0.0f); }

// e^x within 2 ulp; 0 and infinity where float ends, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2, and a minimax
// polynomial for e^r (coefficients from Cephes expf). 2^n goes in as two factors, so that it never overflows itself.
static inline Vec exp(Vec x) {
    x = min(broadcast(89.0f), max(broadcast(-104.0f), x));
    const Vec shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const Vec shifted = fma(x, broadcast(1.44269504088896341f), shifter);
    const Vec n = shifted - shifter;
    const VecInt exponent = sub_int(bits_of(shifted), bits_of(shifter));
    Vec r = fma(n, broadcast(-0.693359375f), x);
    r = fma(n, broadcast(2.12194440e-4f), r);
    Vec p = broadcast(1.9875691500e-4f);
    p = fma(p, r, broadcast(1.3981999507e-3f));
    p = fma(p, r, broadcast(8.3334519073e-3f));
    p = fma(p, r, broadcast(4.1665795894e-2f));
    p = fma(p, r, broadcast(1.6666665459e-1f));
    p = fma(p, r, broadcast(5.0000001201e-1f));
    p = fma(p, r * r, r + broadcast(1.0f));
    const VecInt low = half_int(exponent), high = sub_int(exponent, low);
    const VecInt bias = broadcast_int(127);
    return p * from_bits(to_exponent(add_int(low, bias))) * from_bits(to_exponent(add_int(high, bias)));
}

}  // namespace METALORA_ISA
}  // namespace metalora
