package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import java.util.List;

/**
 * Where the parameters of an adapter of some kind lie in its flat vector of P floats: layer by layer, within a layer in the
 * order of {@link Projection}, without gaps. What computes with the parameters asks for the kind by a {@code switch} without
 * {@code default}, so that the compiler finds all of it for a new kind; what only holds, checks or stores them takes the
 * matrices as they come. Two layouts are equal when they are of one kind and every offset is; the scale is no part of that.
 */
public sealed interface AdapterLayout permits LoraLayout, MixtureLayout {

    /** One adapted Linear [out, in]. */
    sealed interface Site permits LoraLayout.Site, MixtureLayout.Site {
        int layer();

        Projection projection();

        /** Module path within the model. */
        String path();

        int in();

        int out();

        /** Its matrices, of all of which the elements follow on those of the Linear before. */
        List<AdapterMatrix> matrices();

        /** Where its parameters begin in the vector. */
        default long offset() {
            return matrices().getFirst().offset();
        }

        /** How many there are. */
        default int parameters() {
            return matrices().stream().mapToInt(m -> m.rows() * m.columns()).sum();
        }
    }

    AdapterKind kind();

    /** Rank, scale, dropout and targets, which adapters of every kind have. */
    LoraConfig config();

    /** All adapted Linears in the order of the vector, without gaps. */
    List<? extends Site> sites();

    /** P, the floats of one adapter. */
    long parameters();

    /** Columns that the adapter of one Linear adds to the sums of its product, forward or backward. */
    int columns();

    /** Below this layer nothing needs a gradient. */
    default int firstAdaptedLayer() {
        return sites().getFirst().layer();
    }

    /** @throws IllegalArgumentException if this is a layout for a model of another shape, saying what differs */
    void requireFits(ModelConfig model);

    /** How this layout differs from another, in words; the two must not be equal. */
    String difference(AdapterLayout other);
}
