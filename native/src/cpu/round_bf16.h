// Rounding of floats to bf16: to the nearest, ties to even; NaN stays NaN.
#pragma once

#include <stdint.h>
#include <string.h>

namespace metalora {
namespace METALORA_ISA {

static inline uint16_t bf16_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 64 : rounded);
}

static inline float float_of_bf16(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

}  // namespace METALORA_ISA
}  // namespace metalora
