package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * A mixture of asymmetric low-rank adapters (HydraLoRA, Tian et al. 2024): for each adapted Linear one A [r, in], as many B_j
 * [out, r] as there are heads, and a router [heads, in], of which token x is given
 * {@code scale * sum_j w_j B_j A drop(x)} with {@code w = softmax(router x)}. The B_j lie side by side, as one matrix
 * [out, heads * r] whose column j * r + i is column i of B_j.
 */
public final class MixtureLayout implements AdapterLayout {

    /** The most columns of all B_j together, heads * r, that ops take. */
    public static final int MAX_COLUMNS = 65_536;

    /**
     * One adapted Linear. Offsets count floats from the start of the vector.
     *
     * @param path         module path within the model
     * @param offsetA      of A [r, in]
     * @param offsetB      of all B_j [out, heads * r]
     * @param offsetRouter of the router [heads, in]
     */
    public record Site(int layer, Projection projection, String path, int in, int out, int rank, int heads, long offsetA,
                       long offsetB, long offsetRouter) implements AdapterLayout.Site {

        @Override
        public List<AdapterMatrix> matrices() {
            var matrices = new ArrayList<AdapterMatrix>();
            matrices.add(AdapterMatrix.dense("lora_A", offsetA, rank, in));
            for (int j = 0; j < heads; j++) {
                matrices.add(new AdapterMatrix("lora_B" + j, offsetB + (long) j * rank, out, rank, heads * rank));
            }
            matrices.add(AdapterMatrix.dense("lora_route", offsetRouter, heads, in));
            return matrices;
        }
    }

    private final LoraConfig config;
    private final int heads;
    private final int layers;
    private final List<Site> sites;
    private long parameters;

    /**
     * Refuses with an InputException fewer than one head, targets that match nothing, and adapters of more parameters than any
     * can have.
     */
    public MixtureLayout(ModelConfig model, LoraConfig config, int heads) {
        this(model, config, heads, true);
    }

    /** @param everyTargetMatches false: a name that matches nothing is not refused, as long as another matches */
    MixtureLayout(ModelConfig model, LoraConfig config, int heads, boolean everyTargetMatches) {
        this.config = Objects.requireNonNull(config, "config");
        this.heads = heads;
        this.layers = model.layers();
        int rank = config.rank();
        if (heads < 1) {
            throw new InputException("a mixture of " + heads + " heads; it has one at least");
        }
        if ((long) heads * rank > MAX_COLUMNS) {
            throw new InputException("a mixture of " + heads + " heads of rank " + rank + " has " + (long) heads * rank
                    + " columns, more than the " + MAX_COLUMNS + " that one can have; use fewer heads or a lower rank");
        }
        this.sites = AdaptedLinears.of(model, config, everyTargetMatches, (layer, projection, path, in, out) -> {
            long a = parameters;
            long b = a + (long) rank * in;
            long router = b + (long) out * heads * rank;
            parameters = router + (long) heads * in;
            return new Site(layer, projection, path, in, out, rank, heads, a, b, router);
        });
        AdaptedLinears.requireHeld(parameters, "a mixture of " + heads + " heads of rank " + rank, sites.size());
    }

    @Override
    public AdapterKind kind() {
        return AdapterKind.MIXTURE;
    }

    @Override
    public LoraConfig config() {
        return config;
    }

    public int heads() {
        return heads;
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
        return Math.max(heads * config.rank(), config.rank() + heads); // w (x) h; A and the router
    }

    @Override
    public void requireFits(ModelConfig model) {
        AdaptedLinears.requireFits(this, layers, model);
    }

    @Override
    public String difference(AdapterLayout other) {
        return switch (other) {
            case MixtureLayout mixture when heads != mixture.heads -> heads + " heads, not " + mixture.heads;
            case MixtureLayout mixture when config.rank() != mixture.config.rank() ->
                    "rank " + config.rank() + ", not " + mixture.config.rank();
            case MixtureLayout mixture -> AdaptedLinears.difference(sites, layers, mixture.sites, mixture.layers);
            case LoraLayout lora -> "a mixture of " + heads + " heads, not one B for each A";
        };
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof MixtureLayout o && sites.equals(o.sites) && layers == o.layers;
    }

    @Override
    public int hashCode() {
        return sites.hashCode();
    }

    @Override
    public String toString() {
        return "mixture of " + heads + " heads of rank " + config.rank() + " on " + sites.size() + " Linears, " + parameters
                + " parameters";
    }
}
