package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import java.util.List;
import java.util.Objects;

/** LoRA (Hu et al. 2021): for each adapted Linear A [r, in], then B [out, r]. */
public final class LoraLayout implements AdapterLayout {

    /**
     * One adapted Linear. Offsets count floats from the start of the vector.
     *
     * @param path module path within the model
     * @param offsetA of A [r, in]
     * @param offsetB of B [out, r]
     */
    public record Site(int layer, Projection projection, String path, int in, int out, int rank, long offsetA, long offsetB)
            implements AdapterLayout.Site {

        @Override
        public List<AdapterMatrix> matrices() {
            return List.of(
                    AdapterMatrix.dense("lora_A", offsetA, rank, in),
                    AdapterMatrix.dense("lora_B", offsetB, out, rank));
        }
    }

    private final LoraConfig config;
    private final int layers;
    private final List<Site> sites;
    private long parameters;

    /** Refuses with an InputException targets that match nothing, and adapters of more parameters than any can have. */
    public LoraLayout(ModelConfig model, LoraConfig config) {
        this(model, config, true);
    }

    /** @param everyTargetMatches false: a name that matches nothing is not refused, as long as another matches */
    LoraLayout(ModelConfig model, LoraConfig config, boolean everyTargetMatches) {
        this.config = Objects.requireNonNull(config, "config");
        this.layers = model.layers();
        int rank = config.rank();
        this.sites = AdaptedLinears.of(model, config, everyTargetMatches, (layer, projection, path, in, out) -> {
            long a = parameters;
            long b = a + (long) rank * in;
            parameters = b + (long) out * rank;
            return new Site(layer, projection, path, in, out, rank, a, b);
        });
        AdaptedLinears.requireHeld(parameters, "an adapter of rank " + rank, sites.size());
    }

    @Override
    public AdapterKind kind() {
        return AdapterKind.LORA;
    }

    @Override
    public LoraConfig config() {
        return config;
    }

    @Override
    public long parameters() {
        return parameters;
    }

    @Override
    public List<Site> sites() {
        return sites;
    }

    @Override
    public int columns() {
        return config.rank();
    }

    @Override
    public void requireFits(ModelConfig model) {
        AdaptedLinears.requireFits(this, layers, model);
    }

    @Override
    public String difference(AdapterLayout other) {
        return switch (other) {
            case LoraLayout lora when config.rank() != lora.config.rank() ->
                    "rank " + config.rank() + ", not " + lora.config.rank();
            case LoraLayout lora -> AdaptedLinears.difference(sites, layers, lora.sites, lora.layers);
            case MixtureLayout mixture -> "one B for each A, not a mixture of " + mixture.heads() + " heads";
        };
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof LoraLayout o && sites.equals(o.sites) && layers == o.layers;
    }

    @Override
    public int hashCode() {
        return sites.hashCode();
    }

    @Override
    public String toString() {
        return "LoRA of rank " + config.rank() + " on " + sites.size() + " Linears, " + parameters + " parameters";
    }
}
