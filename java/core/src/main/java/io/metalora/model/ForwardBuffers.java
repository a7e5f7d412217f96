package io.metalora.model;

import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.RopeTable;

/**
 * What {@link LayerForward} overwrites from layer to layer, and the angles of the rotation.
 *
 * @param normed      [T, hidden], the normed residual, for the Linears of a layer
 * @param finalNormed the same memory dense, for the final norm
 * @param activated   [T, intermediate], SwiGLU's output
 */
record ForwardBuffers(Tensor normed, Tensor finalNormed, Tensor activated, RopeTable angles) {

    /** @param tokens T, the maximum number of tokens of a pack */
    static ForwardBuffers in(BufferPlan plan, ModelShape shape, int tokens) {
        var c = shape.config();
        int hidden = c.hiddenSize();
        var normed = plan.activation(tokens, hidden + shape.spareColumns(shape.largestGroup()));
        // A pack of T tokens has no position beyond T - 1.
        int reach = Math.min(tokens, c.maxPositions());
        return new ForwardBuffers(
                normed.withSpare(hidden),
                normed.view(0, tokens, hidden),
                plan.rows(tokens, c.intermediateSize(), shape.spareColumns(1)),
                new RopeTable(plan.floats(reach, c.headDim() / 2), plan.floats(reach, c.headDim() / 2), reach, c.headDim()));
    }
}
