package io.metalora.model;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.Tensor;

/**
 * What the forward of one layer leaves for its backward; the norms, the rotated heads of a model with norms per head,
 * and SwiGLU's output are computed again. Nothing is held by two layers but the residual between them.
 *
 * @param in   [T, hidden], the residual stream before the layer
 * @param mid  [T, hidden], after attention
 * @param out  [T, hidden], after the MLP
 * @param q    [T, heads, headDim], rotated; before their norm where the architecture has one, as is k
 * @param k    [T, kvHeads, headDim]
 * @param v    [T, kvHeads, headDim]
 * @param o    [T, heads, headDim], the attention's output
 * @param lse  F32 [T, heads], null without backward
 * @param gate [T, intermediate]
 * @param up   [T, intermediate]
 */
record LayerActivations(
        Tensor in, Tensor mid, Tensor out, Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, Tensor gate,
        Tensor up) {

    /** Of a layer that a backward follows; its input is the residual that the layer below wrote. */
    static LayerActivations kept(Memory memory, ModelConfig c, int tokens, Tensor in) {
        return allocate(
                memory,
                c,
                tokens,
                in,
                memory.activation(tokens, c.hiddenSize()),
                memory.activation(tokens, c.hiddenSize()),
                memory.floats(tokens, c.heads()));
    }

    /** Of any number of layers in turn, which add to one residual in place. */
    static LayerActivations shared(Memory memory, ModelConfig c, int tokens, Tensor residual) {
        return allocate(memory, c, tokens, residual, residual, residual, null);
    }

    /** These buffers over another residual. */
    LayerActivations over(Tensor residual) {
        return new LayerActivations(residual, residual, residual, q, k, v, o, lse, gate, up);
    }

    private static LayerActivations allocate(
            Memory memory, ModelConfig c, int tokens, Tensor in, Tensor mid, Tensor out, Tensor lse) {
        return new LayerActivations(
                in,
                mid,
                out,
                memory.activation(tokens, c.heads(), c.headDim()),
                memory.activation(tokens, c.kvHeads(), c.headDim()),
                memory.activation(tokens, c.kvHeads(), c.headDim()),
                memory.activation(tokens, c.heads(), c.headDim()),
                lse,
                memory.activation(tokens, c.intermediateSize()),
                memory.activation(tokens, c.intermediateSize()));
    }
}
