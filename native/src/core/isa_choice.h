// Which CPU kernels are taken where none are asked for: a function of the processor alone, never of a measurement at run
// time, so that one seed gives the same bits in every run.
#pragma once

#include <cstring>

namespace metalora {

struct Processor {
    const char *vendor;  // as CPUID names it: "GenuineIntel"
    unsigned family;     // with the extended family added, as /proc/cpuinfo shows it
    bool avx2;           // and FMA
    bool avx512;         // F, BW, DQ and VL, and all of the above
};

struct IsaChoice {
    const char *isa;
    const char *reason;
};

inline IsaChoice choose_isa(const Processor &p) {
    if (p.avx512) {
        // Elsewhere it may cost speed: Zen 4 runs a 512-bit instruction as two halves, others lower their clock for it.
        if (std::strcmp(p.vendor, "AuthenticAMD") == 0 && p.family == 0x1a) {
            return {"avx512", "AVX-512 was measured to be faster than AVX2 on this processor family (AMD Zen 5)"};
        }
        return {"avx2", "AVX-512 was not measured to be faster than AVX2 on this processor family; isa avx512 forces it"};
    }
    if (p.avx2) return {"avx2", "the widest that this processor has"};
    return {"portable", "the widest that this processor has"};
}

}  // namespace metalora
