package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.Projection;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.LoraTerm;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;

/** The low-rank terms of all adapted Linears of a model, those of a {@link LinearGroup} together. */
final class LoraTerms {
    private static final int PER_LAYER = Projection.values().length;

    private final AdapterLayout layout;
    private final LoraTerm[] terms; // [layers * 7], at a group's first member; null where there is no adapter
    private boolean on;

    /**
     * @param keep        each term keeps its own h [tokens, r] for the backward; else they share one
     * @param slotOffsets I32 [slots + 1], of the pack
     */
    LoraTerms(BufferPlan plan, AdapterLayout layout, ModelShape shape, int tokens, boolean keep, Tensor slotOffsets) {
        var config = shape.config();
        layout.requireFits(config);
        this.layout = layout;
        this.terms = new LoraTerm[config.layers() * PER_LAYER];
        int rank = layout.config().rank();
        Tensor shared = keep ? null : plan.floats(tokens, (long) rank * shape.largestGroup());
        var parts = new LinkedHashMap<Integer, List<LoraTerm.Part>>(); // by the index of the group's first member
        var sites = switch (layout) {
            case LoraLayout lora -> lora.sites();
        };
        for (var site : sites) {
            var group = shape.group(site.projection());
            int index = site.layer() * PER_LAYER + site.projection().ordinal();
            parts.computeIfAbsent(site.layer() * PER_LAYER + group.first().ordinal(), i -> new ArrayList<>())
                    .add(new LoraTerm.Part(
                            site.offsetA(),
                            site.offsetB(),
                            group.column(config, site.projection()),
                            site.projection().out(config),
                            index));
        }
        parts.forEach((index, of) -> terms[index] = new LoraTerm(
                rank,
                layout.config().scale(),
                of,
                keep ? plan.floats(tokens, (long) rank * of.size()) : shared,
                slotOffsets));
    }

    /** Uses the adapters of {@code slots}, or none. */
    void bind(AdapterSlots adapters, int slots) {
        on = adapters != null;
        if (!on) {
            return;
        }
        if (!adapters.layout().equals(layout)) {
            throw new IllegalArgumentException(
                    "the adapters are " + adapters.layout() + ", not the " + layout + " that the pass was made for: they have "
                            + adapters.layout().difference(layout));
        }
        float scale = adapters.layout().config().scale();
        if (scale != layout.config().scale()) {
            throw new IllegalArgumentException("the adapters have the scale " + scale + ", but the pass was made for "
                    + layout.config().scale() + "; make one for adapters of their alpha");
        }
        var gradients = adapters.hasGradients() ? adapters.gradients() : null;
        for (var term : terms) {
            if (term != null) {
                term.bind(adapters.parameters(), gradients, slots, layout.parameters());
            }
        }
    }

    /** What backwards give gradients of, from here on. */
    void gradientsOf(AdapterPart part) {
        boolean fixesA = switch (part) {
            case ALL -> false;
            case B -> true;
        };
        for (var term : terms) {
            if (term != null) {
                term.fixA(fixesA);
            }
        }
    }

    /** @param stream identifies the micro-batch; every Linear derives its own from it */
    void dropout(float probability, long seed, long stream) {
        for (var term : terms) {
            if (term != null) {
                term.dropout(probability, seed, stream * terms.length);
            }
        }
    }

    /** Of the group that begins with a projection; null where there is no adapter, or none is used. */
    LoraTerm at(int layer, Projection p) {
        return on ? of(layer, p) : null;
    }

    /** The same, whether adapters are used or not. */
    LoraTerm of(int layer, Projection p) {
        return terms[layer * PER_LAYER + p.ordinal()];
    }

    /** Whether adapters are used. */
    boolean isOn() {
        return on;
    }
}
