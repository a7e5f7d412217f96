package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.LowRankTerm;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.RmsNorm;

/**
 * The forward of a decoder layer but for the attention in its middle, whose keys come from the pack in a
 * {@link ModelPass} and from a cache in a {@link Generator}.
 */
final class LayerForward {
    private static final int PER_LAYER = Projection.values().length;

    private final CausalLM model;
    private final Ops ops;
    private final LoraLinear[] frozen;
    private final LoraLinear[] adapted; // null where there are no adapters
    private final LowRankTerms lora; // nullable
    private final Tensor positions;
    private final ForwardBuffers buffers;

    /**
     * @param lora      null without adapters
     * @param buffers   allocated, as are the others' tensors
     * @param positions I32 [tokens], of the pack
     */
    LayerForward(CausalLM model, LowRankTerms lora, ForwardBuffers buffers, Tensor positions) {
        this.model = model;
        this.ops = Ops.of(model.device());
        this.lora = lora;
        this.positions = positions;
        this.buffers = buffers;
        this.frozen = linears(false);
        this.adapted = lora == null ? null : linears(true);
        ops.ropeTable(buffers.angles(), model.config().rope().theta(), model.ropeScaling());
    }

    void embed(Tensor ids, Tensor y, int tokens) {
        ops.embedding(model.embedding(), ids, y, tokens);
    }

    /** Norm and projections to q, k and v, before rotation. */
    void project(int layer, LayerActivations a, int tokens) {
        if (a.qkv() != null) {
            normed(layer, a.in(), model.layer(layer).inputNorm(), Projection.Q, a.qkv(), tokens);
            return;
        }
        var x = norm(a.in(), model.layer(layer).inputNorm(), null, tokens);
        linear(layer, Projection.Q, x, null, a.q(), tokens);
        linear(layer, Projection.K, x, null, a.k(), tokens);
        linear(layer, Projection.V, x, null, a.v(), tokens);
    }

    /**
     * Norm per head, where the architecture has it, and rotation.
     *
     * @param q, k          written; may be those of {@code a}
     * @param rstdQ, rstdK  F32 [T * heads], nullable
     */
    void rotate(int layer, LayerActivations a, Tensor q, Tensor k, Tensor rstdQ, Tensor rstdK, int tokens) {
        var c = model.config();
        if (c.qkNorm()) {
            var weights = model.layer(layer);
            ops.headNorm(weights.queryNorm(), c.heads(), a.q(), q, rstdQ, tokens);
            ops.headNorm(weights.keyNorm(), c.kvHeads(), a.k(), k, rstdK, tokens);
        }
        ops.rope(buffers.angles(), positions, q, c.heads(), tokens);
        ops.rope(buffers.angles(), positions, k, c.kvHeads(), tokens);
    }

    void rotateBack(Tensor dq, Tensor dk, int tokens) {
        var c = model.config();
        ops.ropeBackward(buffers.angles(), positions, dq, c.heads(), tokens);
        ops.ropeBackward(buffers.angles(), positions, dk, c.kvHeads(), tokens);
    }

    /** From the attention's output to the layer's. */
    void finish(int layer, LayerActivations a, int tokens) {
        linear(layer, Projection.O, a.o(), a.in(), a.mid(), tokens);
        if (a.gateUp() != null) {
            normed(layer, a.mid(), model.layer(layer).postAttentionNorm(), Projection.GATE, a.gateUp(), tokens);
        } else {
            var x = norm(a.mid(), model.layer(layer).postAttentionNorm(), null, tokens);
            linear(layer, Projection.GATE, x, null, a.gates().gate(), tokens);
            linear(layer, Projection.UP, x, null, a.gates().up(), tokens);
        }
        ops.swigluLinear(a.gates(), buffers.activated(), linear(layer, Projection.DOWN), a.mid(), a.out(), tokens);
    }

    /** A norm and the stack of Linears that alone reads it. */
    private void normed(int layer, Tensor x, RmsNorm norm, Projection stack, Tensor y, int tokens) {
        ops.rmsnormLinear(norm, x, buffers.normed(), linear(layer, stack), y, tokens);
    }

    /** The norm of a residual, in a buffer that the next call overwrites. */
    Tensor norm(Tensor x, RmsNorm norm, Tensor rstd, int tokens) {
        ops.rmsnorm(norm, x, buffers.normed(), rstd, tokens);
        return buffers.normed();
    }

    /** The final norm of the residual, dense, in the same memory. */
    Tensor finalNorm(Tensor x, Tensor rstd, int tokens) {
        ops.rmsnorm(model.finalNorm(), x, buffers.finalNormed(), rstd, tokens);
        return buffers.finalNormed();
    }

    /** What the last {@link #finalNorm} wrote. */
    Tensor finalNormed() {
        return buffers.finalNormed();
    }

    /** silu(gate) * up, in a buffer that the next call overwrites. */
    Tensor activate(LayerActivations a, int tokens) {
        ops.swiglu(a.gates(), buffers.activated(), tokens);
        return buffers.activated();
    }

    LowRankTerm term(int layer, Projection p) {
        return lora == null ? null : lora.at(layer, p);
    }

    /** A projection's Linear, or its group's, with the adapters in use. */
    LoraLinear linear(int layer, Projection p) {
        return (lora != null && lora.isOn() ? adapted : frozen)[layer * PER_LAYER + p.ordinal()];
    }

    /** Of all layers, made once: a pass allocates nothing. Those of a group are at its first member. */
    private LoraLinear[] linears(boolean withAdapters) {
        var all = new LoraLinear[model.config().layers() * PER_LAYER];
        for (int layer = 0; layer < model.config().layers(); layer++) {
            var weights = model.layer(layer);
            for (var group : model.shape().groups()) {
                var first = group.first();
                all[layer * PER_LAYER + first.ordinal()] = new LoraLinear(
                        weights.weight(first), weights.bias(first), withAdapters ? lora.of(layer, first) : null);
            }
        }
        return all;
    }

    private void linear(int layer, Projection p, Tensor x, Tensor residual, Tensor y, int tokens) {
        ops.linear(linear(layer, p), x, residual, y, tokens);
    }
}
