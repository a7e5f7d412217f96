// The ops in double precision, written straight from the formulas of metalora.h, one loop after the other and
// without a line in common with the library. Shapes as in metalora.h.
#pragma once

#include <cstdint>
#include <vector>

namespace reference {

using Vec = std::vector<double>;
using Ints = std::vector<int32_t>;

// rmsnorm
Vec rmsnorm(const Vec &x, const Vec &weight, double eps);
Vec rmsnorm_rstd(const Vec &x, int64_t width, double eps);
Vec rmsnorm_dx(const Vec &x, const Vec &weight, double eps, const Vec &dy);

// rope: angle of position p at pair j is p * inverse_frequency[j]
Vec rope_plain_frequencies(int64_t head_dim, double theta);
Vec rope_linear_frequencies(int64_t head_dim, double theta, double factor);
Vec rope_llama3_frequencies(int64_t head_dim, double theta, double factor, double low, double high, double original);
Vec rope(const Vec &x, const Vec &frequencies, const Ints &position, int64_t heads, int64_t head_dim, bool backward);

// attention
struct Heads {
    int64_t heads, kv_heads, head_dim, window;
    double scale;
};
struct AttentionResult { Vec o, lse; };
struct AttentionGradient { Vec dq, dk, dv; };
AttentionResult attention(const Heads &, const Vec &q, const Vec &k, const Vec &v, const Ints &q_offsets, const Ints &kv_offsets);
AttentionGradient attention_gradient(const Heads &, const Vec &q, const Vec &k, const Vec &v, const Ints &offsets, const Vec &d_o);

// lora linear; a and b hold all slots one after the other, mask is the inverted dropout's multiplier for [T, in], or for
// several of them, one behind the other, for as many equal shares of the ranks
struct Lora {
    int64_t in, out, rank;
    double scale;
    Ints slot_offsets;
};
struct LoraResult { Vec y, h; };
struct LoraGradient { Vec dx, da, db; };
LoraResult lora_linear(const Lora &, const Vec &x, const Vec &w, const Vec &bias, const Vec &residual, const Vec &a,
                       const Vec &b, const Vec &mask);
LoraGradient lora_linear_gradient(const Lora &, const Vec &x, const Vec &w, const Vec &a, const Vec &b, const Vec &mask,
                                  const Vec &dy);

// mixture linear; of each term, and in it of each slot: a [rank, in], b [rows, heads * rank], router [heads, in]; mask: of each
// term, [T, in]
struct MixtureTerm { int64_t first, rows; };
struct Mixture {
    int64_t in, out, rank, heads;
    double scale;
    std::vector<MixtureTerm> terms;
    Ints slot_offsets;
};
struct MixtureParameters { Vec a, b, router; };
struct MixtureResult { Vec y, h, weights; };
struct MixtureGradient {
    Vec dx;
    MixtureParameters parameters;
};
MixtureResult mixture_linear(const Mixture &, const Vec &x, const Vec &w, const Vec &bias, const Vec &residual,
                             const MixtureParameters &, const Vec &mask);
MixtureGradient mixture_linear_gradient(const Mixture &, const Vec &x, const Vec &w, const MixtureParameters &, const Vec &mask,
                                        const Vec &dy);

// swiglu
Vec swiglu(const Vec &gate, const Vec &up);
struct SwigluGradient { Vec dgate, dup; };
SwigluGradient swiglu_gradient(const Vec &gate, const Vec &up, const Vec &dy);

// cross-entropy
struct CrossEntropyResult { Vec logprob, dx; Ints argmax; };
CrossEntropyResult cross_entropy(const Vec &x, const Vec &w, int64_t hidden, const Ints &rows, const Ints &target,
                                 const Vec &row_scale);

}  // namespace reference
