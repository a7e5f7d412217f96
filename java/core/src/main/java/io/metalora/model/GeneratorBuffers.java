package io.metalora.model;

import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionInput;

/**
 * All buffers of a {@link Generator}, with its cache of keys and values.
 *
 * @param ids          I32 [tokens], as are the positions
 * @param queryOffsets I32 [segments + 1], as are those of the keys
 * @param slotOffsets  I32 [slots + 1]
 * @param lora         null for the base model alone
 * @param heads        of each layer: q of the pass, k and v of the cache, in which a sequence has its own rows
 * @param lastHidden   [sequences, hidden]
 * @param logits       [sequences, vocab]
 */
record GeneratorBuffers(
        Tensor ids, Tensor positions, Tensor queryOffsets, Tensor keyOffsets, Tensor slotOffsets, LowRankTerms lora,
        ForwardBuffers forward, LayerActivations activations, AttentionInput[] heads, Tensor lastHidden, Tensor logits) {

    /** @param adapters null for the base model alone */
    static GeneratorBuffers in(BufferPlan plan, ModelShape shape, AdapterSlots adapters, int sequences, int tokens) {
        var c = shape.config();
        int slots = adapters == null ? 0 : adapters.slots() + 1; // and the base model
        long segments = 2L * sequences; // a sequence, and what the cache holds before it
        var slotOffsets = plan.ints(slots + 1L);
        var activations = LayerActivations.shared(plan, shape, tokens, plan.activation(tokens, c.hiddenSize()));
        var heads = new AttentionInput[c.layers()];
        for (int i = 0; i < heads.length; i++) {
            heads[i] = new AttentionInput(
                    activations.q(),
                    plan.activation(tokens, c.kvHeads(), c.headDim()),
                    plan.activation(tokens, c.kvHeads(), c.headDim()));
        }
        return new GeneratorBuffers(
                plan.ints(tokens),
                plan.ints(tokens),
                plan.ints(segments + 1),
                plan.ints(segments + 1),
                slotOffsets,
                adapters == null ? null : new LowRankTerms(plan, adapters.layout(), shape, tokens, false, slotOffsets),
                ForwardBuffers.in(plan, shape, tokens),
                activations,
                heads,
                plan.activation(sequences, c.hiddenSize()),
                plan.activation(sequences, c.vocabSize()));
    }
}
