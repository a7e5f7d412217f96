// ml_attention_forward and _backward.
#include "core/api/call.h"
#include "core/api/checks.h"

using namespace metalora;

// Sizes and offsets; gives the number of keys.
static int64_t check_attention(Check &c, const ml_attention_desc &d, const int32_t *kv_offsets) {
    c.size("tokens", d.tokens).size("sequences", d.sequences);
    c.range("heads", d.heads, 1, kMaxHeads).positive("kv_heads", d.kv_heads).positive("head_dim", d.head_dim);
    if (!c.ok()) return 0;
    c.require(d.heads % d.kv_heads == 0, "kv_heads", "does not divide heads");
    c.stride("q_stride", d.q_stride, Count(d.heads) * d.head_dim).stride("kv_stride", d.kv_stride, Count(d.kv_heads) * d.head_dim);
    c.stride("o_stride", d.o_stride, Count(d.heads) * d.head_dim);
    c.size("window", d.window).finite("scale", d.scale).size("max_length", d.max_length);
    c.require(d.scale > 0, "scale", "has to be positive");
    c.offsets("q_offsets", d.q_offsets, d.sequences, d.tokens);
    if (!c.ok()) return 0;
    for (int64_t s = 0; s < d.sequences && c.reads_contents(); s++) {
        c.require(d.q_offsets[s + 1] - d.q_offsets[s] <= d.max_length, "max_length", "is below the longest segment of q_offsets");
    }
    if (kv_offsets == nullptr) return d.tokens;
    c.offsets("kv_offsets", kv_offsets, d.sequences);
    if (!c.ok() || !c.reads_contents()) return 0;
    for (int64_t s = 0; s < d.sequences; s++) {
        c.require(kv_offsets[s + 1] - kv_offsets[s] >= d.q_offsets[s + 1] - d.q_offsets[s], "kv_offsets",
                  "a sequence has fewer keys than queries");
    }
    return c.ok() ? kv_offsets[d.sequences] : 0;
}

int32_t ml_attention_forward(ml_context *context, const ml_attention_desc *desc) {
    return run_op(context, "ml_attention_forward", &OpTable::attention_forward, [](Check &c, const ml_attention_desc &d) {
        const int64_t keys = check_attention(c, d, d.kv_offsets);
        if (!c.ok()) return;
        const Count q = Count(d.heads) * d.head_dim, kv = Count(d.kv_heads) * d.head_dim;
        c.activations("q", d.q, d.tokens, q, d.q_stride).activations("o", d.o, d.tokens, q, d.o_stride);
        c.activations("k", d.k, keys, kv, d.kv_stride).activations("v", d.v, keys, kv, d.kv_stride);
        if (d.lse != nullptr) c.floats("lse", d.lse, Count(d.tokens) * d.heads);
    }, desc);
}

int32_t ml_attention_backward(ml_context *context, const ml_attention_desc *desc) {
    return run_op(context, "ml_attention_backward", &OpTable::attention_backward, [](Check &c, const ml_attention_desc &d) {
        check_attention(c, d, nullptr);
        if (!c.ok()) return;
        const Count q = Count(d.heads) * d.head_dim, kv = Count(d.kv_heads) * d.head_dim;
        c.activations("q", d.q, d.tokens, q, d.q_stride).activations("o", d.o, d.tokens, q, d.o_stride);
        c.activations("k", d.k, d.tokens, kv, d.kv_stride).activations("v", d.v, d.tokens, kv, d.kv_stride);
        c.floats("lse", d.lse, Count(d.tokens) * d.heads).activations("d_o", d.d_o, d.tokens, q, 0);
        c.activations("dq", d.dq, d.tokens, q, d.q_stride);
        c.activations("dk", d.dk, d.tokens, kv, d.kv_stride).activations("dv", d.dv, d.tokens, kv, d.kv_stride);
        for (const void *gradient : {d.dq, d.dk, d.dv}) {
            c.require(d.tokens == 0 || (gradient != d.q && gradient != d.k && gradient != d.v && gradient != d.o && gradient != d.d_o),
                      "dq, dk, dv", "may not be q, k, v, o or d_o");
        }
    }, desc);
}
