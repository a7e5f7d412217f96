package io.metalora.runtime.op;

import static io.metalora.bindings.NativeLibrary.check;

import io.metalora.bindings.generated.Metalora;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;

/**
 * The ops of a {@link Device}, a method each; {@code metalora.h} has the mathematics. Tensors may be larger than an op needs:
 * the counts say how much is used. Every size is checked before the call ({@link Descriptor}). Nothing is allocated: the
 * descriptors live as long as the device. Tensors are dense but for those that may be {@link Tensor#columns}, where it says so.
 */
public final class Ops {
    private static final DeviceAccess ACCESS = DeviceAccess.get();

    private final Device device;
    private final EmbeddingDescriptor embedding;
    private final RmsNormDescriptor rmsnorm;
    private final RopeDescriptor rope;
    private final AttentionDescriptor attention;
    private final LoraLinearDescriptor linear;
    private final MixtureLinearDescriptor mixture;
    private final SwigluDescriptor swiglu;
    private final CrossEntropyDescriptor crossEntropy;
    private final VectorDescriptors vectors;

    /** @param arena of the device, for the descriptors */
    public Ops(Device device, Arena arena) {
        this.device = device;
        this.embedding = new EmbeddingDescriptor(device, arena);
        this.rmsnorm = new RmsNormDescriptor(device, arena);
        this.rope = new RopeDescriptor(device, arena);
        this.attention = new AttentionDescriptor(device, arena);
        this.linear = new LoraLinearDescriptor(device, arena);
        this.mixture = new MixtureLinearDescriptor(device, arena);
        this.swiglu = new SwigluDescriptor(device, arena);
        this.crossEntropy = new CrossEntropyDescriptor(device, arena);
        this.vectors = new VectorDescriptors(device, arena);
    }

    /** The ops of a device. */
    public static Ops of(Device device) {
        return ACCESS.ops(device);
    }

    /** y[t, :] = table[ids[t], :]; table [vocab, hidden], ids I32 [tokens], y [tokens, hidden]. */
    public void embedding(FrozenWeight table, Tensor ids, Tensor y, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_embedding_forward(ACCESS.context(device), embedding.forward(table, ids, y, tokens)));
        }
    }

    /**
     * y = the norm of x, by rows.
     *
     * @param x    [rows, width]
     * @param y    [rows, width]; may be columns, or x
     * @param rstd F32 [rows], written; nullable: the backward needs it
     */
    public void rmsnorm(RmsNorm norm, Tensor x, Tensor y, Tensor rstd, long rows) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rmsnorm_forward(ACCESS.context(device), rmsnorm.forward(norm, x, y, rstd, rows)));
        }
    }

    /**
     * dx (+)= the gradient of x.
     *
     * @param rstd F32 [rows], as the forward wrote it
     * @param dx   [rows, width]; may be columns; may be dy unless it is added to
     */
    public void rmsnormBackward(
            RmsNorm norm, Tensor x, Tensor rstd, Tensor dy, Tensor dx, boolean accumulate, long rows) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rmsnorm_backward(
                    ACCESS.context(device), rmsnorm.backward(norm, x, rstd, dy, dx, accumulate, rows)));
        }
    }

    /**
     * The norm of each head.
     *
     * @param norm of a head's width
     * @param x    [tokens, heads * width], as is y; each may be columns; y may be x
     * @param rstd F32 [tokens, heads], written; nullable
     */
    public void headNorm(RmsNorm norm, long heads, Tensor x, Tensor y, Tensor rstd, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rmsnorm_forward(
                    ACCESS.context(device), rmsnorm.headsForward(norm, heads, x, y, rstd, tokens)));
        }
    }

    /** dx = the gradient of x; dx and dy, which may be one, may be columns. */
    public void headNormBackward(
            RmsNorm norm, long heads, Tensor x, Tensor rstd, Tensor dy, Tensor dx, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rmsnorm_backward(
                    ACCESS.context(device), rmsnorm.headsBackward(norm, heads, x, rstd, dy, dx, tokens)));
        }
    }

    /**
     * {@link #rmsnorm} of x into {@code normed}, which may be columns, and {@link #linear} of that into y; as one op, but with a
     * mixture.
     */
    public void rmsnormLinear(RmsNorm norm, Tensor x, Tensor normed, LoraLinear linear, Tensor y, long rows) {
        if (linear.term() instanceof MixtureTerm) {
            rmsnorm(norm, x, normed, null, rows);
            linear(linear, normed, null, y, rows);
            return;
        }
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rmsnorm_linear_forward(
                    ACCESS.context(device), rmsnorm.forward(norm, x, normed, null, rows),
                    this.linear.forward(linear, normed, null, y, rows)));
        }
    }

    /** Fills the table. */
    public void ropeTable(RopeTable table, double theta, RopeScaling scaling) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rope_table(ACCESS.context(device), rope.table(table, theta, scaling)));
        }
    }

    /**
     * Rotates x in place.
     *
     * @param position I32 [tokens]
     * @param x        [tokens, heads * headDim]; may be columns
     */
    public void rope(RopeTable table, Tensor position, Tensor x, long heads, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rope_forward(
                    ACCESS.context(device), rope.rotation(table, position, x, heads, tokens)));
        }
    }

    /** Rotates the gradient x back, in place. */
    public void ropeBackward(RopeTable table, Tensor position, Tensor x, long heads, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_rope_backward(
                    ACCESS.context(device), rope.rotation(table, position, x, heads, tokens)));
        }
    }

    /**
     * Causal attention, a sequence at a time.
     *
     * @param keys where the keys and values of each sequence are in a cache; null: at the places of its queries
     */
    public void attention(
            AttentionShape shape, AttentionInput in, AttentionOutput out, Sequences queries, Sequences keys) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_attention_forward(
                    ACCESS.context(device), attention.forward(shape, in, out, queries, keys)));
        }
    }

    /**
     * The gradients of q, k and v, none of which may be what the backward reads.
     *
     * @param out as the forward over these sequences wrote it
     * @param dO  [tokens, heads * headDim]
     */
    public void attentionBackward(
            AttentionShape shape, AttentionInput in, AttentionOutput out, Tensor dO, AttentionInput gradients,
            Sequences sequences) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_attention_backward(
                    ACCESS.context(device), attention.backward(shape, in, out, dO, gradients, sequences)));
        }
    }

    /**
     * y = W x + bias + residual + the low-rank term.
     *
     * @param x        [tokens, in]; may be columns, as may y
     * @param residual [tokens, out], nullable; may be y; has the stride of y
     */
    public void linear(LoraLinear linear, Tensor x, Tensor residual, Tensor y, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(linear.term() instanceof MixtureTerm term
                    ? Metalora.ml_mixture_linear_forward(
                            ACCESS.context(device), mixture.forward(linear, term, x, residual, y, tokens))
                    : Metalora.ml_lora_linear_forward(
                            ACCESS.context(device), this.linear.forward(linear, x, residual, y, tokens)));
        }
    }

    /**
     * dx (+)= the gradient of x; with a low-rank term, the gradients of its matrices are added to the term's.
     *
     * @param x  null without a low-rank term; may be columns, as may dy
     * @param dx [tokens, in]; null where it is not needed
     */
    public void linearBackward(
            LoraLinear linear, Tensor x, Tensor dy, Tensor dx, boolean accumulate, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(linear.term() instanceof MixtureTerm term
                    ? Metalora.ml_mixture_linear_backward(
                            ACCESS.context(device), mixture.backward(linear, term, x, dy, dx, accumulate, tokens))
                    : Metalora.ml_lora_linear_backward(
                            ACCESS.context(device), this.linear.backward(linear, x, dy, dx, accumulate, tokens)));
        }
    }

    /** y = silu(gate) * up, [rows, width]; y may be columns. */
    public void swiglu(GateUp in, Tensor y, long rows) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_swiglu_forward(ACCESS.context(device), swiglu.forward(in, y, rows)));
        }
    }

    /** The gradients of gate and up, each of which may take the place of gate, up or dy; dy [rows, width]. */
    public void swigluBackward(GateUp in, Tensor dy, GateUp gradients, long rows) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_swiglu_backward(ACCESS.context(device), swiglu.backward(in, dy, gradients, rows)));
        }
    }

    /**
     * {@link #swiglu} into {@code activated}, which may be columns, and {@link #linear} of that into y; as one op, but with a
     * mixture.
     */
    public void swigluLinear(
            GateUp in, Tensor activated, LoraLinear linear, Tensor residual, Tensor y, long rows) {
        if (linear.term() instanceof MixtureTerm) {
            swiglu(in, activated, rows);
            linear(linear, activated, residual, y, rows);
            return;
        }
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_swiglu_linear_forward(
                    ACCESS.context(device), swiglu.forward(in, activated, rows),
                    this.linear.forward(linear, activated, residual, y, rows)));
        }
    }

    /**
     * The log-probability of a target at each loss row, and with dx the gradient of the loss.
     *
     * @param w       [vocab, hidden]
     * @param x       [tokens, hidden], after the final norm
     * @param logprob F32 [count], written
     * @param argmax  I32 [count], written; nullable
     * @param dx      [tokens, hidden], nullable; rows without loss become 0
     */
    public void crossEntropy(
            FrozenWeight w, Tensor x, LossRows loss, Tensor logprob, Tensor argmax, Tensor dx, long tokens) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_cross_entropy(
                    ACCESS.context(device), crossEntropy.of(w, x, loss, logprob, argmax, dx, tokens)));
        }
    }

    /** values[0 .. count) = value, F32. */
    public void fill(Tensor values, long count, float value) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_fill(
                    ACCESS.context(device), vectors.need("values", values, DType.F32, count), count, value));
        }
    }

    /** One vector, F32 [count], into every slot. */
    public void broadcast(SlotVectors of, Tensor to, Tensor from) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_broadcast(
                    ACCESS.context(device),
                    vectors.need("to", to, DType.F32, of.elements()),
                    vectors.need("from", from, DType.F32, of.count()),
                    of.count(),
                    of.stride(),
                    of.slots()));
        }
    }

    /** norm[i] = the norm of slot i's gradient, F32 [slots]; with maxNorm > 0 longer ones are scaled down to it. */
    public void clipGlobalNorm(SlotVectors of, Tensor grad, Tensor norm, float maxNorm) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_clip_global_norm(ACCESS.context(device), vectors.clip(of, grad, norm, maxNorm)));
        }
    }

    /** parameter -= lr * (grad + weightDecay * parameter), for every slot. */
    public void sgd(SlotVectors of, Tensor parameter, Tensor grad, float lr, float weightDecay) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_sgd_step(ACCESS.context(device), vectors.sgd(of, parameter, grad, lr, weightDecay)));
        }
    }

    /**
     * One step of AdamW, for every slot.
     *
     * @param norm F32 [slots], of {@link #clipGlobalNorm}; nullable: a slot whose norm is not finite stays as it is, as does
     *             one whose step would give numbers that are not, and its norm becomes NaN
     * @param step from 1
     */
    public void adamw(SlotVectors of, AdamW.Vectors in, Tensor norm, long step, AdamW rule) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_adamw_step(ACCESS.context(device), vectors.adamw(of, in, norm, step, rule)));
        }
    }

    /**
     * out = sum_i weight[i] g_i and gram[i, j] = g_i . g_j.
     *
     * @param weight F32 [slots]; needed with out
     * @param out    F32 [count], nullable; may be slot 0 of grad
     * @param gram   F64 [slots, slots], nullable
     */
    public void taskReduce(SlotVectors of, Tensor grad, Tensor weight, Tensor out, Tensor gram) {
        try (var _ = ACCESS.turn(device)) {
            check(Metalora.ml_task_reduce(ACCESS.context(device), vectors.taskReduce(of, grad, weight, out, gram)));
        }
    }
}
