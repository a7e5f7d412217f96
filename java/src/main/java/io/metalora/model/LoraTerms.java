package io.metalora.model;

import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.Projection;
import io.metalora.runtime.LoraTerm;
import io.metalora.runtime.Tensor;

/** The low-rank terms of all adapted Linears of a model. */
final class LoraTerms {
    private static final int PER_LAYER = Projection.values().length;

    private final LoraLayout layout;
    private final LoraTerm[] terms; // [layers * 7], null where there is no adapter
    private boolean on;

    /**
     * @param keep        each term keeps its own h [tokens, r] for the backward; else they share one
     * @param slotOffsets I32 [slots + 1], of the pack
     */
    LoraTerms(Memory memory, LoraLayout layout, int layers, int tokens, boolean keep, Tensor slotOffsets) {
        this.layout = layout;
        this.terms = new LoraTerm[layers * PER_LAYER];
        int rank = layout.config().rank();
        Tensor shared = keep ? null : memory.floats(tokens, rank);
        for (var site : layout.sites()) {
            terms[site.layer() * PER_LAYER + site.projection().ordinal()] = new LoraTerm(
                    rank,
                    layout.config().scale(),
                    site.offsetA(),
                    site.offsetB(),
                    keep ? memory.floats(tokens, rank) : shared,
                    slotOffsets);
        }
    }

    /** Uses the adapters of {@code slots}, or none. */
    void bind(AdapterSlots adapters, int slots) {
        on = adapters != null;
        if (!on) {
            return;
        }
        if (!adapters.layout().equals(layout)) {
            throw new IllegalArgumentException(
                    "the adapters are " + adapters.layout() + ", not the " + layout + " that the pass was made for");
        }
        var gradients = adapters.hasGradients() ? adapters.gradients() : null;
        for (var term : terms) {
            if (term != null) {
                term.bind(adapters.parameters(), gradients, slots, layout.parameters());
            }
        }
    }

    /** @param stream tells micro-batches apart; every Linear derives its own from it */
    void dropout(float probability, long seed, long stream) {
        for (int i = 0; i < terms.length; i++) {
            if (terms[i] != null) {
                terms[i].dropout(probability, seed, stream * terms.length + i);
            }
        }
    }

    /** Null where there is no adapter, or none is used. */
    LoraTerm at(int layer, Projection p) {
        return on ? terms[layer * PER_LAYER + p.ordinal()] : null;
    }
}
