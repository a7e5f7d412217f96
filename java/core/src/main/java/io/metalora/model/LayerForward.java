package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.LoraTerm;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.RmsNorm;
import io.metalora.runtime.op.RopeTable;

/**
 * The forward of a decoder layer but for the attention in its middle, whose keys come from the pack in a
 * {@link ModelPass} and from a cache in a {@link Generator}.
 */
final class LayerForward {
    private static final int PER_LAYER = Projection.values().length;

    private final CausalLM model;
    private final Ops ops;
    private final LoraLinear[] frozen; // null where only bytes are counted
    private final LoraLinear[] adapted; // null likewise, and where there are no adapters
    private final LoraTerms lora; // nullable
    private final Tensor positions;
    private final RopeTable angles;
    /** [T, hidden], the normed residual, for the Linears of a layer. */
    private final Tensor normed;
    /** The same memory dense, for the final norm. */
    private final Tensor finalNormed;
    /** [T, intermediate], SwiGLU's output. */
    private final Tensor activated;

    /**
     * @param tokens    the most tokens of a pack
     * @param positions I32 [tokens], of the pack
     */
    LayerForward(Memory memory, CausalLM model, LoraTerms lora, int tokens, Tensor positions) {
        var c = model.config();
        this.model = model;
        this.ops = Ops.of(model.device());
        int hidden = c.hiddenSize();
        this.lora = lora;
        this.positions = positions;
        int most = LinearGroup.largest(model.groups());
        var normed = memory.activation(tokens, hidden + model.spareColumns(most));
        this.normed = normed == null ? null : normed.withSpare(hidden);
        this.finalNormed = normed == null ? null : normed.view(0, tokens, hidden);
        this.activated = memory.rows(tokens, c.intermediateSize(), model.spareColumns(1));
        // A pack of T tokens has no position beyond T - 1.
        int reach = Math.min(tokens, c.maxPositions());
        this.angles = new RopeTable(
                memory.floats(reach, c.headDim() / 2), memory.floats(reach, c.headDim() / 2), reach, c.headDim());
        this.frozen = memory.holds() ? linears(false) : null;
        this.adapted = memory.holds() && lora != null ? linears(true) : null;
        if (memory.holds()) {
            ops.ropeTable(angles, c.rope().theta(), model.ropeScaling());
        }
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
        ops.rope(angles, positions, q, c.heads(), tokens);
        ops.rope(angles, positions, k, c.kvHeads(), tokens);
    }

    void rotateBack(Tensor dq, Tensor dk, int tokens) {
        var c = model.config();
        ops.ropeBackward(angles, positions, dq, c.heads(), tokens);
        ops.ropeBackward(angles, positions, dk, c.kvHeads(), tokens);
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
        ops.swigluLinear(a.gates(), activated, linear(layer, Projection.DOWN), a.mid(), a.out(), tokens);
    }

    /** A norm and the stack of Linears that alone reads it. */
    private void normed(int layer, Tensor x, RmsNorm norm, Projection stack, Tensor y, int tokens) {
        ops.rmsnormLinear(norm, x, normed, linear(layer, stack), y, tokens);
    }

    /** The norm of a residual, in a buffer that the next call overwrites. */
    Tensor norm(Tensor x, RmsNorm norm, Tensor rstd, int tokens) {
        ops.rmsnorm(norm, x, normed, rstd, tokens);
        return normed;
    }

    /** The final norm of the residual, dense, in the same memory. */
    Tensor finalNorm(Tensor x, Tensor rstd, int tokens) {
        ops.rmsnorm(model.finalNorm(), x, finalNormed, rstd, tokens);
        return finalNormed;
    }

    /** What the last {@link #finalNorm} wrote. */
    Tensor finalNormed() {
        return finalNormed;
    }

    /** silu(gate) * up, in a buffer that the next call overwrites. */
    Tensor activate(LayerActivations a, int tokens) {
        ops.swiglu(a.gates(), activated, tokens);
        return activated;
    }

    LoraTerm term(int layer, Projection p) {
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
            for (var group : model.groups()) {
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
