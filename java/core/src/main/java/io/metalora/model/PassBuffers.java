package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Tensor;
import java.util.Arrays;

/**
 * All buffers of a {@link ModelPass}, of packs up to a limit.
 *
 * @param lora     null for the base model alone
 * @param backward null in evaluation
 * @param logprob  F32 [lossRows]
 * @param argmax   I32 [lossRows]
 */
record PassBuffers(
        PackTensors pack, LowRankTerms lora, ForwardBuffers forward, BackwardBuffers backward, LayerActivations[] layers,
        Tensor logprob, Tensor argmax) {

    /**
     * @param layout   null for the base model alone
     * @param training whether a backward follows, for which every layer from the first adapted one on keeps its activations
     */
    static PassBuffers in(BufferPlan plan, ModelShape shape, PassLimits limits, AdapterLayout layout, boolean training) {
        int tokens = limits.tokens();
        var pack = new PackTensors(plan, shape.config(), limits);
        var lora = layout == null ? null : new LowRankTerms(plan, layout, shape, tokens, training, pack.slotOffsets());
        var forward = ForwardBuffers.in(plan, shape, tokens);
        var backward = training ? BackwardBuffers.in(plan, shape, tokens) : null;
        int kept = training ? layout.firstAdaptedLayer() : shape.config().layers();
        return new PassBuffers(pack, lora, forward, backward, layers(plan, shape, tokens, kept, backward),
                plan.floats(limits.lossRows()), plan.ints(limits.lossRows()));
    }

    /** @param kept the first layer that keeps its activations; those below share theirs */
    private static LayerActivations[] layers(BufferPlan plan, ModelShape shape, int tokens, int kept, BackwardBuffers backward) {
        var residual = plan.activation(tokens, shape.config().hiddenSize());
        var all = new LayerActivations[shape.config().layers()];
        if (kept > 0) {
            Arrays.fill(all, 0, kept, LayerActivations.shared(plan, shape, tokens, residual));
        }
        for (int i = kept; i < all.length; i++) {
            all[i] = LayerActivations.kept(plan, shape, tokens, i == kept ? residual : all[i - 1].out(), backward);
        }
        return all;
    }
}
