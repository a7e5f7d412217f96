// Packing of frozen weights: [out, in] row-major to panels [ceil(out / kPanel)][in][kPanel], or to floats row-major.
#include <string.h>

#include "cpu/ops.h"
#include "cpu/round_bf16.h"

namespace metalora {
namespace METALORA_ISA {

static inline float float_of_f16(uint16_t bits) {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent == 0) {  // subnormal: mantissa * 2^-24
        const float magnitude = float(mantissa) * (1.0f / 16777216.0f);
        return sign ? -magnitude : magnitude;
    }
    const uint32_t wide = sign | (exponent == 31 ? 0x7F800000 : (exponent + 112) << 23) | mantissa << 13;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// A panel's features that are among rows [begin, end) of the weight; load(row-major index from `begin` on) gives a value. The
// others are left as they are, which is zero in a new weight.
struct Rows {
    int64_t begin, end, in;
    int64_t first(int64_t panel) const { return begin > panel * kPanel ? begin : panel * kPanel; }
    int64_t last(int64_t panel) const { return end < (panel + 1) * kPanel ? end : (panel + 1) * kPanel; }
};

template <class Element, class Load>
static void pack_panel(Element *to, int64_t panel, const Rows &rows, const Load &load) {
    constexpr int64_t block = 64;  // in features at a time, so that the panel's source rows stay in the cache
    for (int64_t k0 = 0; k0 < rows.in; k0 += block) {
        const int64_t k1 = k0 + block < rows.in ? k0 + block : rows.in;
        for (int64_t row = rows.first(panel); row < rows.last(panel); row++) {
            for (int64_t k = k0; k < k1; k++) to[k * kPanel + row - panel * kPanel] = load((row - rows.begin) * rows.in + k);
        }
    }
}

// The same row-major.
template <class Load>
static void copy_rows(float *to, int64_t panel, const Rows &rows, const Load &load) {
    for (int64_t row = rows.first(panel); row < rows.last(panel); row++) {
        for (int64_t k = 0; k < rows.in; k++) to[(row - panel * kPanel) * rows.in + k] = load((row - rows.begin) * rows.in + k);
    }
}

// The host matrix may lie at any address: elements are read bytewise.
template <class Bits>
static inline Bits read(const void *data, int64_t i) {
    Bits bits;
    memcpy(&bits, static_cast<const char *>(data) + i * int64_t(sizeof bits), sizeof bits);
    return bits;
}

ml_status weight_pack(Context &context, const ml_weight_desc &d, ml_weight &w, int64_t first) {
    const int64_t in = d.in_features, first_panel = first / kPanel, panels = (first + d.out_features + kPanel - 1) / kPanel - first_panel;
    const Rows rows{first, first + d.out_features, in};
    void *storage = const_cast<void *>(weight_data(w));
    const void *data = d.data;
    parallel(context, static_cast<int>(panels), [&](int part) {
        const int64_t panel = first_panel + part;
        if (d.storage_dtype == ML_F32) {
            float *to = static_cast<float *>(storage) + panel * in * kPanel;
            const auto pack = [&](const auto &load) {
                if (weight_is_row_major(w)) copy_rows(to, panel, rows, load);
                else pack_panel(to, panel, rows, load);
            };
            switch (d.source_dtype) {
                case ML_F32: pack([&](int64_t i) { return read<float>(data, i); }); break;
                case ML_BF16: pack([&](int64_t i) { return float_of_bf16(read<uint16_t>(data, i)); }); break;
                default: pack([&](int64_t i) { return float_of_f16(read<uint16_t>(data, i)); }); break;
            }
        } else {
            uint16_t *to = static_cast<uint16_t *>(storage) + panel * in * kPanel;
            switch (d.source_dtype) {
                case ML_F32: pack_panel(to, panel, rows, [&](int64_t i) { return bf16_of(read<float>(data, i)); }); break;
                case ML_BF16: pack_panel(to, panel, rows, [&](int64_t i) { return read<uint16_t>(data, i); }); break;
                default: pack_panel(to, panel, rows, [&](int64_t i) { return bf16_of(float_of_f16(read<uint16_t>(data, i))); }); break;
            }
        }
    });
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora
