package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionInput;

/**
 * What {@link LayerBackward} overwrites from layer to layer.
 *
 * @param dResidual  [T, hidden], the gradient of the residual stream, from the layer above to the layer below
 * @param dNormed    [T, hidden]
 * @param dActivated [T, intermediate]
 * @param dO         [T, heads * headDim]
 * @param dqkv       the gradients of q, k and v side by side; null where those are Linears of their own
 * @param dHeads     the same apart
 * @param rstd       F32 [T], of the norm at work
 * @param rotated    of a model with norms per head, else null
 */
record BackwardBuffers(
        Tensor dResidual, Tensor dNormed, Tensor dActivated, Tensor dO, Tensor dqkv, AttentionInput dHeads, Tensor rstd,
        Rotated rotated) {

    /**
     * The rotated heads of a model with norms per head, which keeps q and k from before their norm. They have the strides of
     * those, with unused columns beside them: attention needs k and v to have the same stride.
     *
     * @param rstdQ F32 [T, heads]
     * @param rstdK F32 [T, kvHeads]
     */
    record Rotated(Tensor q, Tensor k, Tensor rstdQ, Tensor rstdK) {

        private static Rotated in(BufferPlan plan, ModelShape shape, int tokens) {
            var c = shape.config();
            var stack = LayerActivations.stack(plan, shape, tokens, Projection.Q);
            return new Rotated(
                    LayerActivations.output(plan, shape, tokens, stack, Projection.Q),
                    LayerActivations.output(plan, shape, tokens, stack, Projection.K),
                    plan.floats(tokens, c.heads()),
                    plan.floats(tokens, c.kvHeads()));
        }
    }

    /** @param tokens T, the maximum number of tokens of a pack */
    static BackwardBuffers in(BufferPlan plan, ModelShape shape, int tokens) {
        var c = shape.config();
        var dqkv = LayerActivations.stack(plan, shape, tokens, Projection.Q);
        return new BackwardBuffers(
                plan.rows(tokens, c.hiddenSize(), shape.spareColumns(1)),
                plan.activation(tokens, c.hiddenSize()),
                plan.activation(tokens, c.intermediateSize()),
                plan.activation(tokens, c.heads(), c.headDim()),
                dqkv,
                LayerActivations.heads(plan, shape, tokens, dqkv),
                plan.floats(tokens),
                c.qkNorm() ? Rotated.in(plan, shape, tokens) : null);
    }

    /** What attention reads of a layer that is kept. */
    AttentionInput rotated(AttentionInput heads) {
        return rotated == null ? heads : new AttentionInput(rotated.q(), rotated.k(), heads.v());
    }
}
