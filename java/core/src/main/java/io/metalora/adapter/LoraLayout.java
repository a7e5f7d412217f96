package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Where each A [r, in] and B [out, r] of an adapter lies in its flat vector of P floats: layer by layer, within a layer
 * in the order of {@link Projection}, A before B, without gaps.
 */
public final class LoraLayout implements AdapterLayout {

    /**
     * One adapted Linear. Offsets count floats from the start of the vector.
     *
     * @param path module path within the model
     * @param offsetA of A [r, in]
     * @param offsetB of B [out, r]
     */
    public record Site(int layer, Projection projection, String path, int in, int out, long offsetA, long offsetB) {}

    /** A Java array, which a state of training is kept in, holds no more. */
    private static final int MOST_PARAMETERS = Integer.MAX_VALUE - 8;

    private final LoraConfig config;
    private final Site[] byLayer; // [layers, 7]; null where there is no adapter
    private final List<Site> sites;
    private final long parameters;

    /** Refuses with an InputException targets that match nothing, and adapters of more parameters than any can have. */
    public LoraLayout(ModelConfig model, LoraConfig config) {
        this(model, config, true);
    }

    /** @param everyTargetMatches false: a name that matches nothing is not refused, as long as another matches */
    LoraLayout(ModelConfig model, LoraConfig config, boolean everyTargetMatches) {
        this.config = Objects.requireNonNull(config, "config");
        if (everyTargetMatches || config.targets().projections(model).isEmpty()) {
            config.targets().check(model);
        }
        int perLayer = Projection.values().length;
        byLayer = new Site[model.layers() * perLayer];
        var list = new ArrayList<Site>();
        long offset = 0;
        for (int layer = 0; layer < model.layers(); layer++) {
            for (var p : Projection.values()) {
                String path = p.path(layer);
                if (!config.targets().matches(path)) {
                    continue;
                }
                int in = p.in(model);
                int out = p.out(model);
                long a = offset;
                long b = a + (long) config.rank() * in;
                offset = b + (long) out * config.rank();
                var site = new Site(layer, p, path, in, out, a, b);
                byLayer[layer * perLayer + p.ordinal()] = site;
                list.add(site);
            }
        }
        if (offset > MOST_PARAMETERS) {
            throw new InputException("an adapter of rank " + config.rank() + " on " + list.size() + " Linears of this model has " + offset
                    + " parameters, more than the " + MOST_PARAMETERS + " that one can have; lower the rank or adapt fewer modules");
        }
        sites = List.copyOf(list);
        parameters = offset;
    }

    @Override
    public LoraConfig config() {
        return config;
    }

    @Override
    public long parameters() {
        return parameters;
    }

    /** The adapter of a Linear, or null where it has none. */
    public Site site(int layer, Projection projection) {
        return byLayer[layer * Projection.values().length + projection.ordinal()];
    }

    /** All adapted Linears in the order of the vector. */
    public List<Site> sites() {
        return sites;
    }

    @Override
    public List<Linear> linears() {
        int rank = config.rank();
        return sites.stream().map(site -> new Linear(site.path(), site.offsetA(), (long) rank * (site.in() + site.out())))
                .toList();
    }

    @Override
    public int firstAdaptedLayer() {
        return sites.getFirst().layer();
    }

    @Override
    public void requireFits(ModelConfig model) {
        if (layers() != model.layers()) {
            throw new IllegalArgumentException("the " + this + " is for a model of " + layers() + " layers, but this one has "
                    + model.layers());
        }
        for (var site : sites) {
            int in = site.projection().in(model);
            int out = site.projection().out(model);
            if (site.in() != in || site.out() != out) {
                throw new IllegalArgumentException("the " + this + " is for another model: " + site.path() + " has shape ["
                        + site.out() + ", " + site.in() + "] there, but [" + out + ", " + in + "] in this one");
            }
        }
    }

    @Override
    public String difference(AdapterLayout other) {
        return switch (other) {
            case LoraLayout lora -> differenceFrom(lora);
        };
    }

    private String differenceFrom(LoraLayout other) {
        if (config.rank() != other.config.rank()) {
            return "rank " + config.rank() + ", not " + other.config.rank();
        }
        if (layers() != other.layers()) {
            return layers() + " layers, not " + other.layers();
        }
        for (int i = 0; i < byLayer.length; i++) {
            var mine = byLayer[i];
            var theirs = other.byLayer[i];
            if (mine == null && theirs != null) {
                return "nothing on " + theirs.path();
            }
            if (mine != null && !mine.equals(theirs)) {
                return theirs == null ? "an adapter on " + mine.path() + ", where there is none"
                        : mine.path() + " of shape [" + mine.out() + ", " + mine.in() + "], not [" + theirs.out() + ", "
                                + theirs.in() + "]";
            }
        }
        throw new IllegalArgumentException("the layouts are equal");
    }

    private int layers() {
        return byLayer.length / Projection.values().length;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof LoraLayout o && config.rank() == o.config.rank() && sites.equals(o.sites)
                && byLayer.length == o.byLayer.length;
    }

    @Override
    public int hashCode() {
        return 31 * config.rank() + sites.hashCode();
    }

    @Override
    public String toString() {
        return "LoRA of rank " + config.rank() + " on " + sites.size() + " Linears, " + parameters + " parameters";
    }
}
