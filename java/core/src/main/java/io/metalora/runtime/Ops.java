package io.metalora.runtime;

import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.generated.Metalora;
import io.metalora.bindings.generated.ml_adamw_desc;
import io.metalora.bindings.generated.ml_attention_desc;
import io.metalora.bindings.generated.ml_clip_desc;
import io.metalora.bindings.generated.ml_cross_entropy_desc;
import io.metalora.bindings.generated.ml_embedding_desc;
import io.metalora.bindings.generated.ml_lora_linear_desc;
import io.metalora.bindings.generated.ml_lora_term;
import io.metalora.bindings.generated.ml_rmsnorm_desc;
import io.metalora.bindings.generated.ml_rope_desc;
import io.metalora.bindings.generated.ml_rope_table_desc;
import io.metalora.bindings.generated.ml_sgd_desc;
import io.metalora.bindings.generated.ml_swiglu_desc;
import io.metalora.bindings.generated.ml_task_reduce_desc;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The ops of a {@link Device}, one method each; the mathematics stand in {@code metalora.h}. Tensors may be larger
 * than an op needs: the counts say how much is used. Every size is checked before the call, and a failed check names
 * the tensor. Nothing is allocated: the descriptors live as long as the device. Tensors are dense but for those that a
 * method says may be {@link Tensor#columns}.
 */
public final class Ops {
    private final Device device;
    private final DType act;
    private final MemorySegment embedding;
    private final MemorySegment rmsnorm;
    private final MemorySegment ropeTable;
    private final MemorySegment rope;
    private final MemorySegment attention;
    private final MemorySegment linear;
    private final MemorySegment[] linearTerms;
    private final MemorySegment swiglu;
    private final MemorySegment crossEntropy;
    private final MemorySegment clip;
    private final MemorySegment sgd;
    private final MemorySegment adamw;
    private final MemorySegment taskReduce;

    Ops(Device device, Arena arena) {
        this.device = device;
        this.act = device.activationType();
        this.embedding = ml_embedding_desc.allocate(arena);
        this.rmsnorm = ml_rmsnorm_desc.allocate(arena);
        this.ropeTable = ml_rope_table_desc.allocate(arena);
        this.rope = ml_rope_desc.allocate(arena);
        this.attention = ml_attention_desc.allocate(arena);
        this.linear = ml_lora_linear_desc.allocate(arena);
        this.linearTerms = new MemorySegment[Metalora.ML_LORA_TERMS()];
        for (int i = 0; i < linearTerms.length; i++) {
            linearTerms[i] = ml_lora_linear_desc.term(linear, i);
        }
        this.swiglu = ml_swiglu_desc.allocate(arena);
        this.crossEntropy = ml_cross_entropy_desc.allocate(arena);
        this.clip = ml_clip_desc.allocate(arena);
        this.sgd = ml_sgd_desc.allocate(arena);
        this.adamw = ml_adamw_desc.allocate(arena);
        this.taskReduce = ml_task_reduce_desc.allocate(arena);
    }

    /** y[t, :] = table[ids[t], :]; table [vocab, hidden], ids I32 [tokens], y [tokens, hidden]. */
    public void embedding(FrozenWeight table, Tensor ids, Tensor y, long tokens) {
        try (var _ = device.turn()) {
            var d = embedding;
            ml_embedding_desc.table(d, weight("table", table));
            ml_embedding_desc.ids(d, need("ids", ids, DType.I32, tokens));
            ml_embedding_desc.y(d, need("y", y, act, tokens * table.inFeatures()));
            ml_embedding_desc.tokens(d, tokens);
            NativeLibrary.check(Metalora.ml_embedding_forward(device.context(), d));
        }
    }

    /** y = x * rstd * weight by rows of {@code width}; rstd F32 [rows] is nullable; y may be columns, or x. */
    public void rmsnorm(Tensor x, Tensor weight, Tensor y, Tensor rstd, long rows, long width, float eps) {
        rmsnorm(x, weight, y, rstd, rows, width, eps, null, null);
    }

    /**
     * The same, and on the way the h of the Linear that reads y, which is then {@link #linear called} as shrunk.
     *
     * @param next     the Linear's weight; ignored without a term
     * @param nextTerm its low-rank term, without dropout; null = the norm alone
     */
    public void rmsnorm(
            Tensor x, Tensor weight, Tensor y, Tensor rstd, long rows, long width, float eps, FrozenWeight next,
            LoraTerm nextTerm) {
        try (var _ = device.turn()) {
            var d = rmsnorm(x, weight, rows, width, eps);
            ml_rmsnorm_desc.next(d, next(next, nextTerm, y, rows));
            ml_rmsnorm_desc.y(d, needRows("y", y, rows, width));
            ml_rmsnorm_desc.out_stride(d, y.stride());
            ml_rmsnorm_desc.rstd(d, nullable("rstd", rstd, DType.F32, rows));
            NativeLibrary.check(Metalora.ml_rmsnorm_forward(device.context(), d));
        }
    }

    /**
     * dx (+)= the gradient of the norm's input; rstd as written by the forward; dx may be columns, or dy without
     * accumulate.
     */
    public void rmsnormBackward(
            Tensor x, Tensor weight, Tensor rstd, Tensor dy, Tensor dx, long rows, long width, float eps,
            boolean accumulate) {
        try (var _ = device.turn()) {
            var d = rmsnorm(x, weight, rows, width, eps);
            ml_rmsnorm_desc.rstd(d, need("rstd", rstd, DType.F32, rows));
            ml_rmsnorm_desc.dy(d, need("dy", dy, act, rows * width));
            ml_rmsnorm_desc.dx(d, needRows("dx", dx, rows, width));
            ml_rmsnorm_desc.out_stride(d, dx.stride());
            ml_rmsnorm_desc.accumulate(d, accumulate ? 1 : 0);
            ml_rmsnorm_desc.next(d, MemorySegment.NULL);
            NativeLibrary.check(Metalora.ml_rmsnorm_backward(device.context(), d));
        }
    }

    /**
     * The norm of each head, weight [headDim]; x and y [tokens, heads * headDim], each of which may be columns; y may be x.
     *
     * @param rstd F32 [tokens, heads], nullable
     */
    public void headNorm(
            Tensor x, Tensor weight, Tensor y, Tensor rstd, long tokens, long heads, long headDim, float eps) {
        try (var _ = device.turn()) {
            var d = headNorm(x, weight, tokens, heads, headDim, eps);
            ml_rmsnorm_desc.y(d, needRows("y", y, tokens, heads * headDim));
            ml_rmsnorm_desc.out_stride(d, y.stride());
            ml_rmsnorm_desc.rstd(d, nullable("rstd", rstd, DType.F32, tokens * heads));
            ml_rmsnorm_desc.next(d, MemorySegment.NULL);
            NativeLibrary.check(Metalora.ml_rmsnorm_forward(device.context(), d));
        }
    }

    /** dx = the gradient of x; dx and dy, which may be one, may be columns. */
    public void headNormBackward(
            Tensor x, Tensor weight, Tensor rstd, Tensor dy, Tensor dx, long tokens, long heads, long headDim,
            float eps) {
        try (var _ = device.turn()) {
            var d = headNorm(x, weight, tokens, heads, headDim, eps);
            ml_rmsnorm_desc.rstd(d, need("rstd", rstd, DType.F32, tokens * heads));
            ml_rmsnorm_desc.dy(d, needRows("dy", dy, tokens, heads * headDim));
            ml_rmsnorm_desc.dy_stride(d, dy.stride());
            ml_rmsnorm_desc.dx(d, needRows("dx", dx, tokens, heads * headDim));
            ml_rmsnorm_desc.out_stride(d, dx.stride());
            ml_rmsnorm_desc.accumulate(d, 0);
            ml_rmsnorm_desc.next(d, MemorySegment.NULL);
            NativeLibrary.check(Metalora.ml_rmsnorm_backward(device.context(), d));
        }
    }

    private MemorySegment headNorm(Tensor x, Tensor weight, long tokens, long heads, long headDim, float eps) {
        var d = norm(needRows("x", x, tokens, heads * headDim), weight, tokens * heads, headDim, eps);
        ml_rmsnorm_desc.group(d, heads);
        ml_rmsnorm_desc.x_stride(d, x.stride());
        return d;
    }

    private MemorySegment rmsnorm(Tensor x, Tensor weight, long rows, long width, float eps) {
        return norm(need("x", x, act, rows * width), weight, rows, width, eps);
    }

    private MemorySegment norm(MemorySegment x, Tensor weight, long rows, long width, float eps) {
        var d = rmsnorm;
        ml_rmsnorm_desc.x(d, x);
        ml_rmsnorm_desc.group(d, 1);
        ml_rmsnorm_desc.x_stride(d, 0);
        ml_rmsnorm_desc.dy_stride(d, 0);
        ml_rmsnorm_desc.weight(d, need("weight", weight, DType.F32, width));
        ml_rmsnorm_desc.rows(d, rows);
        ml_rmsnorm_desc.width(d, width);
        ml_rmsnorm_desc.eps(d, eps);
        return d;
    }

    /** Fills cos and sin, F32 [positions, headDim / 2]. */
    public void ropeTable(Tensor cos, Tensor sin, long positions, long headDim, double theta, RopeScaling scaling) {
        try (var _ = device.turn()) {
            var d = ropeTable;
            ml_rope_table_desc.cos(d, need("cos", cos, DType.F32, positions * (headDim / 2)));
            ml_rope_table_desc.sin(d, need("sin", sin, DType.F32, positions * (headDim / 2)));
            ml_rope_table_desc.positions(d, positions);
            ml_rope_table_desc.head_dim(d, headDim);
            ml_rope_table_desc.theta(d, theta);
            switch (scaling) {
                case RopeScaling.None() -> ml_rope_table_desc.scaling(d, Metalora.ML_ROPE_PLAIN());
                case RopeScaling.Linear(var factor) -> {
                    ml_rope_table_desc.scaling(d, Metalora.ML_ROPE_LINEAR());
                    ml_rope_table_desc.factor(d, factor);
                }
                case RopeScaling.Llama3(var factor, var low, var high, var original) -> {
                    ml_rope_table_desc.scaling(d, Metalora.ML_ROPE_LLAMA3());
                    ml_rope_table_desc.factor(d, factor);
                    ml_rope_table_desc.low_freq_factor(d, low);
                    ml_rope_table_desc.high_freq_factor(d, high);
                    ml_rope_table_desc.original_max_positions(d, original);
                }
            }
            NativeLibrary.check(Metalora.ml_rope_table(device.context(), d));
        }
    }

    /**
     * Rotates x [tokens, heads, headDim], which may be columns, in place; position I32 [tokens]; cos and sin
     * [positions, headDim / 2].
     */
    public void rope(Tensor x, Tensor cos, Tensor sin, Tensor position, long tokens, long heads, long headDim) {
        try (var _ = device.turn()) {
            NativeLibrary.check(Metalora.ml_rope_forward(
                    device.context(), rotation(x, cos, sin, position, tokens, heads, headDim)));
        }
    }

    /** Rotates the gradient x [tokens, heads, headDim] back, in place. */
    public void ropeBackward(Tensor x, Tensor cos, Tensor sin, Tensor position, long tokens, long heads, long headDim) {
        try (var _ = device.turn()) {
            NativeLibrary.check(Metalora.ml_rope_backward(
                    device.context(), rotation(x, cos, sin, position, tokens, heads, headDim)));
        }
    }

    private MemorySegment rotation(
            Tensor x, Tensor cos, Tensor sin, Tensor position, long tokens, long heads, long headDim) {
        var d = rope;
        long positions = cos.elements() / (headDim / 2);
        ml_rope_desc.x(d, needRows("x", x, tokens, heads * headDim));
        ml_rope_desc.stride(d, x.stride());
        ml_rope_desc.cos(d, need("cos", cos, DType.F32, positions * (headDim / 2)));
        ml_rope_desc.sin(d, need("sin", sin, DType.F32, positions * (headDim / 2)));
        ml_rope_desc.position(d, need("position", position, DType.I32, tokens));
        ml_rope_desc.tokens(d, tokens);
        ml_rope_desc.positions(d, positions);
        ml_rope_desc.heads(d, heads);
        ml_rope_desc.head_dim(d, headDim);
        return d;
    }

    /**
     * o = causal attention of q over k and v, a sequence at a time. q, o, and k and v alike, may be columns.
     *
     * @param lse       F32 [tokens, heads], nullable; backward needs it
     * @param qOffsets  I32 [sequences + 1]
     * @param kvOffsets I32 [sequences + 1] into k and v; null = qOffsets
     * @param kvTokens  rows of k and v that kvOffsets reaches; tokens where it is null
     * @param maxLength the longest query segment
     */
    public void attention(
            AttentionShape shape, Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, Tensor qOffsets,
            Tensor kvOffsets, long tokens, long kvTokens, long sequences, long maxLength) {
        try (var _ = device.turn()) {
            var d = attention(shape, q, k, v, o, qOffsets, tokens, kvTokens, sequences, maxLength);
            ml_attention_desc.lse(d, nullable("lse", lse, DType.F32, tokens * shape.heads()));
            ml_attention_desc.kv_offsets(d, nullable("kvOffsets", kvOffsets, DType.I32, sequences + 1));
            NativeLibrary.check(Metalora.ml_attention_forward(device.context(), d));
        }
    }

    /**
     * dq, dk and dv from dO; o and lse as written by the forward over the same offsets for queries and keys. Gradients
     * lie as what they are of: dq as q, dk and dv as k and v.
     */
    public void attentionBackward(
            AttentionShape shape, Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, Tensor dO, Tensor dq, Tensor dk,
            Tensor dv, Tensor offsets, long tokens, long sequences, long maxLength) {
        try (var _ = device.turn()) {
            var d = attention(shape, q, k, v, o, offsets, tokens, tokens, sequences, maxLength);
            long queries = shape.heads() * (long) shape.headDim();
            long keys = shape.kvHeads() * (long) shape.headDim();
            alike("dq and q", dq, q);
            alike("dk and k", dk, k);
            alike("dv and k", dv, k);
            ml_attention_desc.lse(d, need("lse", lse, DType.F32, tokens * shape.heads()));
            ml_attention_desc.kv_offsets(d, MemorySegment.NULL);
            ml_attention_desc.d_o(d, need("dO", dO, act, tokens * queries));
            ml_attention_desc.dq(d, needRows("dq", dq, tokens, queries));
            ml_attention_desc.dk(d, needRows("dk", dk, tokens, keys));
            ml_attention_desc.dv(d, needRows("dv", dv, tokens, keys));
            NativeLibrary.check(Metalora.ml_attention_backward(device.context(), d));
        }
    }

    private MemorySegment attention(
            AttentionShape shape, Tensor q, Tensor k, Tensor v, Tensor o, Tensor qOffsets, long tokens, long kvTokens,
            long sequences, long maxLength) {
        var d = attention;
        long queries = shape.heads() * (long) shape.headDim();
        long keys = shape.kvHeads() * (long) shape.headDim();
        alike("v and k", v, k);
        ml_attention_desc.q(d, needRows("q", q, tokens, queries));
        ml_attention_desc.k(d, needRows("k", k, kvTokens, keys));
        ml_attention_desc.v(d, needRows("v", v, kvTokens, keys));
        ml_attention_desc.o(d, needRows("o", o, tokens, queries));
        ml_attention_desc.q_stride(d, q.stride());
        ml_attention_desc.kv_stride(d, k.stride());
        ml_attention_desc.o_stride(d, o.stride());
        ml_attention_desc.q_offsets(d, need("qOffsets", qOffsets, DType.I32, sequences + 1));
        ml_attention_desc.tokens(d, tokens);
        ml_attention_desc.sequences(d, sequences);
        ml_attention_desc.max_length(d, maxLength);
        ml_attention_desc.heads(d, shape.heads());
        ml_attention_desc.kv_heads(d, shape.kvHeads());
        ml_attention_desc.head_dim(d, shape.headDim());
        ml_attention_desc.window(d, shape.window());
        ml_attention_desc.scale(d, shape.scale());
        return d;
    }

    /**
     * y = W x + bias + residual + the low-rank term.
     *
     * @param bias     F32 [out], nullable
     * @param lora     null = the frozen Linear alone
     * @param x        [tokens, in]; may be columns, as may y
     * @param residual [tokens, out], nullable; may be y; lies as y does
     */
    public void linear(
            FrozenWeight w, Tensor bias, LoraTerm lora, Tensor x, Tensor residual, Tensor y, long tokens) {
        linear(w, bias, lora, x, residual, y, tokens, false);
    }

    /**
     * The same.
     *
     * @param shrunk the op that wrote x had this Linear and its term as its next, and neither x, h nor the adapter was
     *               written to since, nor the weight used
     */
    public void linear(
            FrozenWeight w, Tensor bias, LoraTerm lora, Tensor x, Tensor residual, Tensor y, long tokens,
            boolean shrunk) {
        try (var _ = device.turn()) {
            var d = linearOf(w, lora, x, tokens);
            ml_lora_linear_desc.shrunk(d, shrunk ? 1 : 0);
            ml_lora_linear_desc.y(d, needRows("y", y, tokens, w.outFeatures()));
            ml_lora_linear_desc.y_stride(d, y.stride());
            if (residual != null) {
                alike("residual and y", residual, y);
            }
            ml_lora_linear_desc.bias(d, nullable("bias", bias, DType.F32, w.outFeatures()));
            ml_lora_linear_desc.residual(
                    d, residual == null ? MemorySegment.NULL : needRows("residual", residual, tokens, w.outFeatures()));
            NativeLibrary.check(Metalora.ml_lora_linear_forward(device.context(), d));
        }
    }

    /**
     * dx (+)= the gradient of x; with a low-rank term, the gradients of A and B are added to the term's.
     *
     * @param x  null where lora is null; may be columns, as may dy
     * @param dx null where nobody needs it
     */
    public void linearBackward(
            FrozenWeight w, LoraTerm lora, Tensor x, Tensor dy, Tensor dx, long tokens, boolean accumulate) {
        try (var _ = device.turn()) {
            var d = linear(w, lora, tokens);
            if (lora == null) {
                ml_lora_linear_desc.x(d, MemorySegment.NULL);
                ml_lora_linear_desc.x_stride(d, 0);
            } else {
                ml_lora_linear_desc.x(d, needRows("x", x, tokens, w.inFeatures()));
                ml_lora_linear_desc.x_stride(d, x.stride());
                need("gradients", lora.gradients, DType.F32, slotElements(w, lora));
                for (int i = 0; i < lora.parts.size(); i++) {
                    ml_lora_term.da(linearTerms[i], lora.gradientA(i));
                    ml_lora_term.db(linearTerms[i], lora.gradientB(i));
                }
            }
            ml_lora_linear_desc.dy(d, needRows("dy", dy, tokens, w.outFeatures()));
            ml_lora_linear_desc.y_stride(d, dy.stride());
            ml_lora_linear_desc.spare(d, dy.spare());
            ml_lora_linear_desc.dx(d, nullable("dx", dx, act, tokens * w.inFeatures()));
            ml_lora_linear_desc.accumulate(d, accumulate ? 1 : 0);
            NativeLibrary.check(Metalora.ml_lora_linear_backward(device.context(), d));
        }
    }

    /** The forward of a Linear as far as its input goes. */
    private MemorySegment linearOf(FrozenWeight w, LoraTerm lora, Tensor x, long tokens) {
        var d = linear(w, lora, tokens);
        ml_lora_linear_desc.x(d, needRows("x", x, tokens, w.inFeatures()));
        ml_lora_linear_desc.x_stride(d, x.stride());
        ml_lora_linear_desc.spare(d, x.spare());
        return d;
    }

    /** The Linear that reads y; NULL without a term. */
    private MemorySegment next(FrozenWeight w, LoraTerm lora, Tensor y, long rows) {
        if (lora == null) {
            return MemorySegment.NULL;
        }
        var d = linearOf(w, lora, y, rows);
        ml_lora_linear_desc.shrunk(d, 0);
        ml_lora_linear_desc.y(d, MemorySegment.NULL);
        ml_lora_linear_desc.residual(d, MemorySegment.NULL);
        ml_lora_linear_desc.y_stride(d, 0);
        return d;
    }

    private MemorySegment linear(FrozenWeight w, LoraTerm lora, long tokens) {
        var d = linear;
        ml_lora_linear_desc.w(d, weight("w", w));
        ml_lora_linear_desc.tokens(d, tokens);
        if (lora == null) {
            ml_lora_linear_desc.rank(d, 0);
            ml_lora_linear_desc.slot_offsets(d, MemorySegment.NULL);
            ml_lora_linear_desc.slots(d, 0);
            ml_lora_linear_desc.dropout(d, 0f);
            return d;
        }
        need("parameters", lora.parameters, DType.F32, slotElements(w, lora));
        int parts = lora.parts.size();
        for (int i = 0; i < parts; i++) {
            var part = lora.parts.get(i);
            var term = linearTerms[i];
            ml_lora_term.a(term, lora.a(i));
            ml_lora_term.b(term, lora.b(i));
            ml_lora_term.first(term, part.first());
            ml_lora_term.rows(term, part.rows());
            ml_lora_term.stream(term, lora.stream + part.stream());
        }
        ml_lora_linear_desc.terms(d, parts);
        ml_lora_linear_desc.h(d, need("h", lora.h, DType.F32, tokens * parts * lora.rank));
        ml_lora_linear_desc.slot_offsets(d, need("slotOffsets", lora.slotOffsets, DType.I32, lora.slots + 1L));
        ml_lora_linear_desc.slots(d, lora.slots);
        ml_lora_linear_desc.slot_stride(d, lora.stride);
        ml_lora_linear_desc.rank(d, lora.rank);
        ml_lora_linear_desc.scale(d, lora.scale);
        ml_lora_linear_desc.dropout(d, lora.dropout);
        ml_lora_linear_desc.seed(d, lora.seed);
        return d;
    }

    private static long slotElements(FrozenWeight w, LoraTerm lora) {
        long end = 0;
        for (int i = 0; i < lora.parts.size(); i++) {
            var part = lora.parts.get(i);
            end = Math.max(end, part.offsetA() + lora.rank * w.inFeatures());
            end = Math.max(end, part.offsetB() + lora.rank * part.rows());
        }
        return (lora.slots - 1L) * lora.stride + end;
    }

    /** y = silu(gate) * up, all [rows, width]; gate and up alike, and y, may be columns. */
    public void swiglu(Tensor gate, Tensor up, Tensor y, long rows, long width) {
        swiglu(gate, up, y, rows, width, null, null);
    }

    /** The same, and the h of the Linear that reads y; see {@link #rmsnorm}. */
    public void swiglu(
            Tensor gate, Tensor up, Tensor y, long rows, long width, FrozenWeight next, LoraTerm nextTerm) {
        try (var _ = device.turn()) {
            var d = swiglu(gate, up, rows, width);
            ml_swiglu_desc.next(d, next(next, nextTerm, y, rows));
            ml_swiglu_desc.y(d, needRows("y", y, rows, width));
            ml_swiglu_desc.y_stride(d, y.stride());
            NativeLibrary.check(Metalora.ml_swiglu_forward(device.context(), d));
        }
    }

    /** dgate and dup, which lie as gate and up do, from dy; each may be the buffer of gate, up or dy. */
    public void swigluBackward(
            Tensor gate, Tensor up, Tensor dy, Tensor dgate, Tensor dup, long rows, long width) {
        try (var _ = device.turn()) {
            var d = swiglu(gate, up, rows, width);
            alike("dgate and gate", dgate, gate);
            alike("dup and gate", dup, gate);
            ml_swiglu_desc.dy(d, need("dy", dy, act, rows * width));
            ml_swiglu_desc.dgate(d, needRows("dgate", dgate, rows, width));
            ml_swiglu_desc.dup(d, needRows("dup", dup, rows, width));
            ml_swiglu_desc.y_stride(d, 0); // the forward's would be checked against this width
            ml_swiglu_desc.next(d, MemorySegment.NULL);
            NativeLibrary.check(Metalora.ml_swiglu_backward(device.context(), d));
        }
    }

    private MemorySegment swiglu(Tensor gate, Tensor up, long rows, long width) {
        var d = swiglu;
        alike("up and gate", up, gate);
        ml_swiglu_desc.gate(d, needRows("gate", gate, rows, width));
        ml_swiglu_desc.up(d, needRows("up", up, rows, width));
        ml_swiglu_desc.rows(d, rows);
        ml_swiglu_desc.width(d, width);
        ml_swiglu_desc.gate_stride(d, gate.stride());
        return d;
    }

    /**
     * The log-probability of a target at each loss row, and with dx the gradient of the loss.
     *
     * @param x        [tokens, hidden], after the final norm
     * @param rows     I32 [count], strictly ascending
     * @param target   I32 [count]
     * @param rowScale F32 [count], d loss / d (-logprob); needed with dx
     * @param logprob  F32 [count], written
     * @param argmax   I32 [count], written; nullable
     * @param dx       [tokens, hidden], nullable; rows without loss become 0
     */
    public void crossEntropy(
            FrozenWeight w, Tensor x, Tensor rows, Tensor target, Tensor rowScale, Tensor logprob, Tensor argmax,
            Tensor dx, long tokens, long count) {
        try (var _ = device.turn()) {
            var d = crossEntropy;
            ml_cross_entropy_desc.x(d, need("x", x, act, tokens * w.inFeatures()));
            ml_cross_entropy_desc.w(d, weight("w", w));
            ml_cross_entropy_desc.rows(d, need("rows", rows, DType.I32, count));
            ml_cross_entropy_desc.target(d, need("target", target, DType.I32, count));
            ml_cross_entropy_desc.row_scale(
                    d, dx == null ? MemorySegment.NULL : need("rowScale", rowScale, DType.F32, count));
            ml_cross_entropy_desc.logprob(d, need("logprob", logprob, DType.F32, count));
            ml_cross_entropy_desc.argmax(d, nullable("argmax", argmax, DType.I32, count));
            ml_cross_entropy_desc.dx(d, nullable("dx", dx, act, tokens * w.inFeatures()));
            ml_cross_entropy_desc.tokens(d, tokens);
            ml_cross_entropy_desc.count(d, count);
            NativeLibrary.check(Metalora.ml_cross_entropy(device.context(), d));
        }
    }

    /** values[0 .. count) = value, F32. */
    public void fill(Tensor values, long count, float value) {
        try (var _ = device.turn()) {
            NativeLibrary.check(Metalora.ml_fill(
                    device.context(), need("values", values, DType.F32, count), count, value));
        }
    }

    /** to[i * stride .. + count) = from[0 .. count) for every slot i, F32. */
    public void broadcast(Tensor to, Tensor from, long count, long stride, long slots) {
        try (var _ = device.turn()) {
            NativeLibrary.check(Metalora.ml_broadcast(
                    device.context(),
                    need("to", to, DType.F32, slotted(count, stride, slots)),
                    need("from", from, DType.F32, count),
                    count,
                    stride,
                    slots));
        }
    }

    /** norm[i] = the norm of slot i's gradient, F32 [slots]; with maxNorm > 0 longer ones are scaled down to it. */
    public void clipGlobalNorm(Tensor grad, Tensor norm, long count, long stride, long slots, float maxNorm) {
        try (var _ = device.turn()) {
            var d = clip;
            ml_clip_desc.grad(d, need("grad", grad, DType.F32, slotted(count, stride, slots)));
            ml_clip_desc.norm(d, need("norm", norm, DType.F32, slots));
            ml_clip_desc.count(d, count);
            ml_clip_desc.stride(d, stride);
            ml_clip_desc.slots(d, slots);
            ml_clip_desc.max_norm(d, maxNorm);
            NativeLibrary.check(Metalora.ml_clip_global_norm(device.context(), d));
        }
    }

    /** parameter -= lr * (grad + weightDecay * parameter), for every slot. */
    public void sgd(
            Tensor parameter, Tensor grad, long count, long stride, long slots, float lr, float weightDecay) {
        try (var _ = device.turn()) {
            var d = sgd;
            long elements = slotted(count, stride, slots);
            ml_sgd_desc.parameter(d, need("parameter", parameter, DType.F32, elements));
            ml_sgd_desc.grad(d, need("grad", grad, DType.F32, elements));
            ml_sgd_desc.count(d, count);
            ml_sgd_desc.stride(d, stride);
            ml_sgd_desc.slots(d, slots);
            ml_sgd_desc.lr(d, lr);
            ml_sgd_desc.weight_decay(d, weightDecay);
            NativeLibrary.check(Metalora.ml_sgd_step(device.context(), d));
        }
    }

    /**
     * One step of AdamW (Loshchilov and Hutter 2019), as torch.optim.AdamW; step counts from 1.
     *
     * @param norm F32 [slots], of {@link #clipGlobalNorm}; nullable: a slot whose norm is not finite stays as it is, as does
     *             one whose step would give numbers that are not, and its norm becomes NaN
     */
    public void adamw(
            Tensor parameter, Tensor grad, Tensor m, Tensor v, Tensor norm, long count, long stride, long slots,
            long step, float lr, float beta1, float beta2, float eps, float weightDecay) {
        try (var _ = device.turn()) {
            var d = adamw;
            long elements = slotted(count, stride, slots);
            ml_adamw_desc.parameter(d, need("parameter", parameter, DType.F32, elements));
            ml_adamw_desc.grad(d, need("grad", grad, DType.F32, elements));
            ml_adamw_desc.m(d, need("m", m, DType.F32, elements));
            ml_adamw_desc.v(d, need("v", v, DType.F32, elements));
            ml_adamw_desc.norm(d, nullable("norm", norm, DType.F32, slots));
            ml_adamw_desc.count(d, count);
            ml_adamw_desc.stride(d, stride);
            ml_adamw_desc.slots(d, slots);
            ml_adamw_desc.step(d, step);
            ml_adamw_desc.lr(d, lr);
            ml_adamw_desc.beta1(d, beta1);
            ml_adamw_desc.beta2(d, beta2);
            ml_adamw_desc.eps(d, eps);
            ml_adamw_desc.weight_decay(d, weightDecay);
            NativeLibrary.check(Metalora.ml_adamw_step(device.context(), d));
        }
    }

    /**
     * out = sum_i weight[i] g_i and gram[i, j] = g_i . g_j.
     *
     * @param weight F32 [slots]; needed with out
     * @param out    F32 [count], nullable; may be slot 0 of grad
     * @param gram   F64 [slots, slots], nullable
     */
    public void taskReduce(
            Tensor grad, Tensor weight, Tensor out, Tensor gram, long count, long stride, long slots) {
        try (var _ = device.turn()) {
            var d = taskReduce;
            ml_task_reduce_desc.grad(d, need("grad", grad, DType.F32, slotted(count, stride, slots)));
            ml_task_reduce_desc.weight(
                    d, out == null ? MemorySegment.NULL : need("weight", weight, DType.F32, slots));
            ml_task_reduce_desc.out(d, nullable("out", out, DType.F32, count));
            ml_task_reduce_desc.gram(d, nullable("gram", gram, DType.F64, slots * slots));
            ml_task_reduce_desc.count(d, count);
            ml_task_reduce_desc.stride(d, stride);
            ml_task_reduce_desc.slots(d, slots);
            NativeLibrary.check(Metalora.ml_task_reduce(device.context(), d));
        }
    }

    private static long slotted(long count, long stride, long slots) {
        if (count < 0 || slots < 0 || stride < count) {
            throw new IllegalArgumentException(slots + " slots of " + count + " floats, " + stride + " apart");
        }
        return slots == 0 ? 0 : (slots - 1) * stride + count;
    }

    private MemorySegment weight(String name, FrozenWeight weight) {
        if (weight.device() != device) {
            throw new IllegalArgumentException(name + " is a weight of another device");
        }
        return weight.handle();
    }

    private MemorySegment nullable(String name, Tensor tensor, DType dtype, long elements) {
        return tensor == null ? MemorySegment.NULL : need(name, tensor, dtype, elements);
    }

    /** A matrix of activations, dense or columns. */
    private MemorySegment needRows(String name, Tensor tensor, long rows, long width) {
        if (tensor == null || tensor.stride() == 0) {
            return need(name, tensor, act, rows * width);
        }
        if (tensor.width() != width || tensor.rows() < rows) {
            throw new IllegalArgumentException(name + " is " + tensor + ", not [" + rows + ", " + width + "]");
        }
        return check(name, tensor, act);
    }

    private static void alike(String names, Tensor a, Tensor b) {
        if (a != null && b != null && a.stride() != b.stride()) {
            throw new IllegalArgumentException(names + " lie differently: rows of " + a.stride() + " and " + b.stride()
                    + " elements");
        }
    }

    private MemorySegment need(String name, Tensor tensor, DType dtype, long elements) {
        var pointer = check(name, tensor, dtype);
        if (elements < 0 || tensor.elements() < elements) {
            throw new IllegalArgumentException(name + " is " + tensor + "; " + elements + " elements are needed");
        }
        if (tensor.stride() != 0 && elements > 0) {
            throw new IllegalArgumentException(name + " is columns " + tensor + " of a matrix; a dense tensor is needed");
        }
        return pointer;
    }

    private MemorySegment check(String name, Tensor tensor, DType dtype) {
        if (tensor == null) {
            throw new IllegalArgumentException(name + " is missing");
        }
        if (tensor.device() != device) {
            throw new IllegalArgumentException(name + " is a tensor of another device");
        }
        if (tensor.dtype() != dtype) {
            throw new IllegalArgumentException(name + " is " + tensor + ", not of " + dtype);
        }
        return tensor.pointer();
    }
}
