package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.Projection;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.LoraTerm;
import io.metalora.runtime.op.LowRankTerm;
import io.metalora.runtime.op.MixtureTerm;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The low-rank terms of all adapted Linears of a model, those of a {@link LinearGroup} together. */
final class LowRankTerms {
    private static final int PER_LAYER = Projection.values().length;

    private final AdapterLayout layout;
    private final LowRankTerm[] terms; // [layers * 7], at a group's first member; null where there is no adapter
    private boolean on;

    /**
     * @param keep        each term keeps for the backward what it computes of its tokens; else all share the memory of one
     * @param slotOffsets I32 [slots + 1], of the pack
     */
    LowRankTerms(BufferPlan plan, AdapterLayout layout, ModelShape shape, int tokens, boolean keep, Tensor slotOffsets) {
        var config = shape.config();
        layout.requireFits(config);
        this.layout = layout;
        this.terms = new LowRankTerm[config.layers() * PER_LAYER];
        switch (layout) {
            case LoraLayout lora -> lora(plan, lora, shape, tokens, keep, slotOffsets);
            case MixtureLayout mixture -> mixture(plan, mixture, shape, tokens, keep, slotOffsets);
        }
    }

    private void lora(BufferPlan plan, LoraLayout layout, ModelShape shape, int tokens, boolean keep, Tensor slotOffsets) {
        int rank = layout.config().rank();
        Tensor shared = keep ? null : plan.floats(tokens, (long) rank * shape.largestGroup());
        byGroup(layout.sites(), shape).forEach((index, sites) -> terms[index] = new LoraTerm(
                rank,
                layout.config().scale(),
                sites.stream().map(site -> part(site, site.offsetA(), site.offsetB(), shape)).toList(),
                keep ? plan.floats(tokens, (long) rank * sites.size()) : shared,
                slotOffsets));
    }

    private void mixture(BufferPlan plan, MixtureLayout layout, ModelShape shape, int tokens, boolean keep, Tensor slotOffsets) {
        int rank = layout.config().rank();
        int heads = layout.heads();
        Tensor sharedH = keep ? null : plan.floats(tokens, (long) rank * shape.largestGroup());
        Tensor sharedWeights = keep ? null : plan.floats(tokens, (long) heads * shape.largestGroup());
        byGroup(layout.sites(), shape).forEach((index, sites) -> terms[index] = new MixtureTerm(
                rank,
                heads,
                layout.config().scale(),
                sites.stream().map(site -> part(site, site.offsetA(), site.offsetB(), shape)).toList(),
                sites.stream().map(MixtureLayout.Site::offsetRouter).toList(),
                keep ? plan.floats(tokens, (long) rank * sites.size()) : sharedH,
                keep ? plan.floats(tokens, (long) heads * sites.size()) : sharedWeights,
                slotOffsets));
    }

    /** The sites whose Linears are one product, by the index of the group's first member. */
    private static <S extends AdapterLayout.Site> Map<Integer, List<S>> byGroup(List<S> sites, ModelShape shape) {
        var groups = new LinkedHashMap<Integer, List<S>>();
        for (var site : sites) {
            int first = shape.group(site.projection()).first().ordinal();
            groups.computeIfAbsent(site.layer() * PER_LAYER + first, i -> new ArrayList<>()).add(site);
        }
        return groups;
    }

    private static LowRankTerm.Part part(AdapterLayout.Site site, long offsetA, long offsetB, ModelShape shape) {
        var p = site.projection();
        return new LowRankTerm.Part(offsetA, offsetB, shape.group(p).column(shape.config(), p), p.out(shape.config()),
                site.layer() * PER_LAYER + p.ordinal());
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
        if (!part.isOf(layout.kind())) {
            throw new IllegalArgumentException("the adapters are " + layout + ", which has no router to move");
        }
        for (var term : terms) {
            if (term != null) {
                term.fix(!part.movesA(), !part.movesRouter());
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

    /**
     * Adds to row {@code rowOf[t]} of {@code sums} [rows, heads], of each head of a mixture, its weight on token t of the last
     * pass, averaged over the Linears. The terms must keep what they compute.
     */
    void addHeadWeights(int tokens, int[] rowOf, double[][] sums) {
        int linears = layout.sites().size();
        int heads = sums[0].length;
        for (var term : terms) {
            if (term instanceof MixtureTerm mixture) {
                int ofToken = mixture.size() * heads;
                var weights = new float[Math.multiplyExact(tokens, ofToken)];
                mixture.weights().download(weights, weights.length);
                for (int i = 0; i < weights.length; i++) {
                    sums[rowOf[i / ofToken]][i % heads] += (double) weights[i] / linears;
                }
            }
        }
    }

    /** Of the group that begins with a projection; null where there is no adapter, or none is used. */
    LowRankTerm at(int layer, Projection p) {
        return on ? of(layer, p) : null;
    }

    /** The same, whether adapters are used or not. */
    LowRankTerm of(int layer, Projection p) {
        return terms[layer * PER_LAYER + p.ordinal()];
    }

    /** Whether adapters are used. */
    boolean isOn() {
        return on;
    }
}
