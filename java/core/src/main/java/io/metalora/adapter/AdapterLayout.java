package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import java.util.List;

/**
 * Where the parameters of an adapter of some kind lie in its flat vector of P floats: what training, optimizers and the memory
 * of slots need to know of it. What computes with the parameters, or names them, asks for the kind by a {@code switch} without
 * {@code default}, so that the compiler finds all of it for a new kind. Two layouts are equal when they are of one kind and
 * every offset is; the scale is no part of that.
 */
public sealed interface AdapterLayout permits LoraLayout {

    /**
     * The parameters of one adapted Linear, which lie together.
     *
     * @param path   module path within the model
     * @param offset floats from the start of the vector
     * @param count  how many
     */
    record Linear(String path, long offset, long count) {}

    /** Rank, scale, dropout and targets, which adapters of every kind have. */
    LoraConfig config();

    /** P, the floats of one adapter. */
    long parameters();

    /** All adapted Linears, in the order of the vector, without gaps. */
    List<Linear> linears();

    /** Below this layer nothing needs a gradient. */
    int firstAdaptedLayer();

    /** @throws IllegalArgumentException if this is a layout for a model of another shape, saying what differs */
    void requireFits(ModelConfig model);

    /** How this layout differs from another, in words; the two must not be equal. */
    String difference(AdapterLayout other);
}
