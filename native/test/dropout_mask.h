// The mask of the linears' dropout.
#pragma once

#include "weights.h"

namespace test {

// The multipliers drop() uses, seen from outside: with A a block of the identity, h is a block of drop(x), and x = 1.
inline std::vector<double> observe_mask(Device &device, int64_t tokens, int64_t in, float dropout, uint64_t seed,
                                        uint64_t stream) {
    const int64_t rank = std::min<int64_t>(in, 64);
    const Weight w(device, {std::vector<float>(static_cast<size_t>(in)).data(), ML_F32, ML_F32, 1, in, 0});
    Activations x(device, std::vector<float>(tokens * in, 1.0f)), y(device, tokens);
    Buffer<float> h(device, tokens * rank);
    Buffer<float> b(device, std::vector<float>(rank, 0.0f)), a(device, rank * in);
    Buffer<int32_t> offsets(device, {0, static_cast<int32_t>(tokens)});
    ml_lora_linear_desc d{};
    d.x = x, d.w = w, d.y = y, d.h = h, d.term[0] = {a, b, nullptr, nullptr, 0, 1, stream}, d.terms = 1, d.slot_offsets = offsets;
    d.tokens = tokens, d.slots = 1, d.rank = rank, d.scale = 1, d.dropout = dropout, d.seed = seed;
    std::vector<double> mask(tokens * in);
    for (int64_t first = 0; first < in; first += rank) {
        std::vector<float> block(rank * in, 0.0f);
        for (int64_t r = 0; r < rank && first + r < in; r++) block[r * in + first + r] = 1;
        a.write(block);
        EXPECT_OK(ml_lora_linear_forward(device, &d));
        const auto values = h.read();
        for (int64_t t = 0; t < tokens; t++) {
            for (int64_t r = 0; r < rank && first + r < in; r++) mask[t * in + first + r] = values[t * rank + r];
        }
    }
    return mask;
}

}  // namespace test
