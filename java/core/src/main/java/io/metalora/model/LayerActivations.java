package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionInput;
import io.metalora.runtime.op.AttentionOutput;
import io.metalora.runtime.op.GateUp;

/**
 * What the forward of one layer leaves for its backward; the norms, the rotated heads of a model with norms per head, and
 * SwiGLU's output are computed again. Nothing is held by two layers but the residual between them.
 *
 * @param in       [T, hidden], the residual stream before the layer
 * @param mid      [T, hidden], after attention
 * @param out      [T, hidden], after the MLP
 * @param heads    q [T, heads * headDim], k and v [T, kvHeads * headDim]; q and k before their norm where the architecture has
 *                 one, else rotated
 * @param rotated  what attention reads: the same, or buffers for rotated heads that all layers use in turn
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
    static LayerActivations kept(BufferPlan plan, ModelShape shape, int tokens, Tensor in, BackwardBuffers backward) {
        var c = shape.config();
        return allocate(
                plan,
                shape,
                tokens,
                in,
                plan.activation(tokens, c.hiddenSize()),
                plan.activation(tokens, c.hiddenSize()),
                plan.floats(tokens, c.heads()),
                backward);
    }

    /** Of any number of layers in turn, which add to one residual in place. */
    static LayerActivations shared(BufferPlan plan, ModelShape shape, int tokens, Tensor residual) {
        return allocate(plan, shape, tokens, residual, residual, residual, null, null);
    }

    private static LayerActivations allocate(
            BufferPlan plan, ModelShape shape, int tokens, Tensor in, Tensor mid, Tensor out, Tensor lse, BackwardBuffers backward) {
        var c = shape.config();
        var qkv = stack(plan, shape, tokens, Projection.Q);
        var gateUp = stack(plan, shape, tokens, Projection.GATE);
        var heads = heads(plan, shape, tokens, qkv);
        return new LayerActivations(
                in,
                mid,
                out,
                heads,
                backward == null ? heads : backward.rotated(heads),
                qkv,
                new AttentionOutput(plan.rows(tokens, Projection.O.in(c), shape.spareColumns(1)), lse),
                new GateUp(
                        output(plan, shape, tokens, gateUp, Projection.GATE),
                        output(plan, shape, tokens, gateUp, Projection.UP),
                        c.intermediateSize()),
                gateUp);
    }

    /**
     * The outputs of a projection's group side by side, or their gradients, which are the input of the group's backward;
     * null where the projection is alone.
     */
    static Tensor stack(BufferPlan plan, ModelShape shape, int tokens, Projection first) {
        var group = shape.group(first);
        return group.isStack()
                ? plan.rows(tokens, group.out(shape.config()), shape.spareColumns(group.members().size()))
                : null;
    }

    /** q, k and v, or their gradients: columns of their stack where there is one. */
    static AttentionInput heads(BufferPlan plan, ModelShape shape, int tokens, Tensor qkv) {
        return new AttentionInput(
                output(plan, shape, tokens, qkv, Projection.Q),
                output(plan, shape, tokens, qkv, Projection.K),
                output(plan, shape, tokens, qkv, Projection.V));
    }

    /** A projection's outputs: columns of its group's stack, or a buffer of their own. */
    static Tensor output(BufferPlan plan, ModelShape shape, int tokens, Tensor stack, Projection p) {
        var c = shape.config();
        var group = shape.group(p);
        return group.isStack()
                ? stack.columns(group.column(c, p), p.out(c))
                : plan.activation(tokens, p.out(c));
    }
}
