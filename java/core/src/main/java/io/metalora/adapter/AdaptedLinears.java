package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.List;

/** What layouts of every kind share: which Linears of a model are adapted, and whether two layouts adapt the same. */
final class AdaptedLinears {

    /** A Java array, which a state of training is kept in, holds no more. */
    private static final int MOST_PARAMETERS = Integer.MAX_VALUE - 8;

    /** Makes the site of one Linear. */
    @FunctionalInterface
    interface Maker<S> {
        S site(int layer, Projection projection, String path, int in, int out);
    }

    private AdaptedLinears() {}

    /**
     * A site for each Linear that the targets match, in the order of the vector.
     *
     * @param everyTargetMatches false: a name that matches nothing is not refused, as long as another matches
     */
    static <S> List<S> of(ModelConfig model, LoraConfig config, boolean everyTargetMatches, Maker<S> maker) {
        if (everyTargetMatches || config.targets().projections(model).isEmpty()) {
            config.targets().check(model);
        }
        var sites = new ArrayList<S>();
        for (int layer = 0; layer < model.layers(); layer++) {
            for (var p : Projection.values()) {
                String path = p.path(layer);
                if (config.targets().matches(path)) {
                    sites.add(maker.site(layer, p, path, p.in(model), p.out(model)));
                }
            }
        }
        return List.copyOf(sites);
    }

    /** @param kind of the adapter, with its size, in words */
    static void requireHeld(long parameters, String kind, int linears) {
        if (parameters > MOST_PARAMETERS) {
            throw new InputException(kind + " on " + linears + " Linears of this model has " + parameters + " parameters, more"
                    + " than the " + MOST_PARAMETERS + " that one can have; lower the rank or adapt fewer modules");
        }
    }

    /** @param layers of the model that the layout is for */
    static void requireFits(AdapterLayout layout, int layers, ModelConfig model) {
        if (layers != model.layers()) {
            throw new IllegalArgumentException("the " + layout + " is for a model of " + layers + " layers, but this one has "
                    + model.layers());
        }
        for (var site : layout.sites()) {
            int in = site.projection().in(model);
            int out = site.projection().out(model);
            if (site.in() != in || site.out() != out) {
                throw new IllegalArgumentException("the " + layout + " is for another model: " + site.path() + " has shape ["
                        + site.out() + ", " + site.in() + "] there, but [" + out + ", " + in + "] in this one");
            }
        }
    }

    /** How the Linears of two layouts of one kind, rank and number of heads differ, in words. */
    static String difference(
            List<? extends AdapterLayout.Site> mine, int layers, List<? extends AdapterLayout.Site> theirs, int theirLayers) {
        if (layers != theirLayers) {
            return layers + " layers, not " + theirLayers;
        }
        for (int i = 0; ; i++) {
            var a = i < mine.size() ? mine.get(i) : null;
            var b = i < theirs.size() ? theirs.get(i) : null;
            if (a == null && b == null) {
                throw new IllegalArgumentException("the layouts are equal");
            }
            if (a == null || b != null && place(b) < place(a)) {
                return "nothing on " + b.path();
            }
            if (b == null || place(a) < place(b)) {
                return "an adapter on " + a.path() + ", where there is none";
            }
            if (!a.equals(b)) {
                return a.path() + " of shape [" + a.out() + ", " + a.in() + "], not [" + b.out() + ", " + b.in() + "]";
            }
        }
    }

    private static int place(AdapterLayout.Site site) {
        return site.layer() * Projection.values().length + site.projection().ordinal();
    }
}
