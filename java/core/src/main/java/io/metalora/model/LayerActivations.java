package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionInput;
import io.metalora.runtime.op.AttentionOutput;
import io.metalora.runtime.op.GateUp;

/**
 * What the forward of one layer leaves for its backward; the norms, the rotated heads of a model with norms per head,
 * and SwiGLU's output are computed again. Nothing is held by two layers but the residual between them.
 *
 * @param in       [T, hidden], the residual stream before the layer
 * @param mid      [T, hidden], after attention
 * @param out      [T, hidden], after the MLP
 * @param heads    q [T, heads * headDim], k and v [T, kvHeads * headDim]; q and k before their norm where the architecture has one,
 *                 else rotated
 * @param rotated  what attention reads: the same, or the buffers that the rotated heads of all layers take turns in
 * @param qkv      q, k and v side by side where they are one product, else null
 * @param attended the attention's output [T, heads * headDim], with F32 [T, heads] for its backward
 * @param gates    gate and up [T, intermediate]
 * @param gateUp   both side by side where they are one product, else null
 */
record LayerActivations(
        Tensor in, Tensor mid, Tensor out, AttentionInput heads, AttentionInput rotated, Tensor qkv, AttentionOutput attended,
        GateUp gates, Tensor gateUp) {

    Tensor q() {
        return heads.q();
    }

    Tensor k() {
        return heads.k();
    }

    Tensor v() {
        return heads.v();
    }

    Tensor o() {
        return attended.o();
    }

    /**
     * Of a layer that a backward follows.
     *
     * @param in       the residual that the layer below wrote
     * @param backward has the rotated heads of a model with norms per head
     */
    static LayerActivations kept(Memory memory, CausalLM model, int tokens, Tensor in, LayerBackward backward) {
        var c = model.config();
        return allocate(
                memory,
                model,
                tokens,
                in,
                memory.activation(tokens, c.hiddenSize()),
                memory.activation(tokens, c.hiddenSize()),
                memory.floats(tokens, c.heads()),
                backward);
    }

    /** Of any number of layers in turn, which add to one residual in place. */
    static LayerActivations shared(Memory memory, CausalLM model, int tokens, Tensor residual) {
        return allocate(memory, model, tokens, residual, residual, residual, null, null);
    }

    private static LayerActivations allocate(
            Memory memory, CausalLM model, int tokens, Tensor in, Tensor mid, Tensor out, Tensor lse, LayerBackward backward) {
        var c = model.config();
        var qkv = stack(memory, model, tokens, Projection.Q);
        var gateUp = stack(memory, model, tokens, Projection.GATE);
        var heads = new AttentionInput(
                output(memory, model, tokens, qkv, Projection.Q),
                output(memory, model, tokens, qkv, Projection.K),
                output(memory, model, tokens, qkv, Projection.V));
        return new LayerActivations(
                in,
                mid,
                out,
                heads,
                backward == null ? heads : backward.rotated(heads),
                qkv,
                new AttentionOutput(memory.rows(tokens, Projection.O.in(c), model.spareColumns(1)), lse),
                new GateUp(
                        output(memory, model, tokens, gateUp, Projection.GATE),
                        output(memory, model, tokens, gateUp, Projection.UP),
                        c.intermediateSize()),
                gateUp);
    }

    /**
     * The outputs of a projection's group side by side, or their gradients, which are the input of the group's backward;
     * null where the projection is alone.
     */
    static Tensor stack(Memory memory, CausalLM model, int tokens, Projection first) {
        var group = model.group(first);
        return group.isStack()
                ? memory.rows(tokens, group.out(model.config()), model.spareColumns(group.members().size()))
                : null;
    }

    /** A projection's outputs: columns of its group's stack, or a buffer of their own. */
    static Tensor output(Memory memory, CausalLM model, int tokens, Tensor stack, Projection p) {
        var c = model.config();
        var group = model.group(p);
        return group.isStack()
                ? Memory.columns(stack, group.column(c, p), p.out(c))
                : memory.activation(tokens, p.out(c));
    }
}
