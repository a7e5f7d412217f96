// A Llama-shaped decoder: its Linears, and the order in which its ops run. The one place for it: test_model and bench/native
// say how each step is called and on which buffers. test_model's reference, which checks the order, has its own.
#pragma once

#include <cstdint>

namespace decoder {

enum Projection { kQ, kK, kV, kO, kGate, kUp, kDown, kProjections };

// Linears of one input.
struct Group {
    int first, count;
};
constexpr Group kQkv{kQ, 3}, kOut{kO, 1}, kGateUp{kGate, 2}, kDowns{kDown, 1};
constexpr Group kGroups[] = {kQkv, kOut, kGateUp, kDowns};

enum Norm { kInput, kPostAttention };  // of a layer

struct Sizes {
    int64_t hidden, heads, kv_heads, head_dim, inner;

    int64_t q_width() const { return heads * head_dim; }
    int64_t kv_width() const { return kv_heads * head_dim; }
    int64_t in_of(int projection) const { return projection == kDown ? inner : projection == kO ? q_width() : hidden; }
    int64_t out_of(int projection) const {
        switch (projection) {
            case kQ: return q_width();
            case kK: case kV: return kv_width();
            case kGate: case kUp: return inner;
            default: return hidden;
        }
    }
    int64_t out_of(Group group) const {
        int64_t sum = 0;
        for (int i = 0; i < group.count; i++) sum += out_of(group.first + i);
        return sum;
    }
};

// From the residual stream before the layer to that behind it.
template <class Steps> void forward_layer(Steps &s, int64_t layer) {
    s.norm_linear(layer, kInput, kQkv);
    s.rope(layer);
    s.attention(layer);
    s.linear(layer, kOut);              // onto the residual
    s.norm_linear(layer, kPostAttention, kGateUp);
    s.swiglu_linear(layer, kDowns);     // onto the residual
}

// The gradients of the layer's adapters and, where a layer below needs it, of the residual stream. Norms and SwiGLU are computed
// again: what they wrote was not kept.
template <class Steps> void backward_layer(Steps &s, int64_t layer, bool below) {
    s.swiglu(layer);
    s.linear_backward(layer, kDowns, true);
    s.swiglu_backward(layer);
    s.norm(layer, kPostAttention);
    s.linear_backward(layer, kGateUp, true);
    s.norm_backward(layer, kPostAttention);
    s.linear_backward(layer, kOut, true);
    s.attention_backward(layer);
    s.rope_backward(layer);
    s.norm(layer, kInput);
    s.linear_backward(layer, kQkv, below);
    if (below) s.norm_backward(layer, kInput);
}

template <class Steps> void forward_backward(Steps &s, int64_t layers) {
    s.embed();
    for (int64_t i = 0; i < layers; i++) forward_layer(s, i);
    s.final_norm();
    s.loss();
    s.final_norm_backward();
    for (int64_t i = layers - 1; i >= 0; i--) backward_layer(s, i, i > 0);
}

}  // namespace decoder
