package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import java.util.Objects;

/**
 * How to load a {@link CausalLM}.
 *
 * @param storage        how the frozen weights are held
 * @param adapterColumns room beside every Linear for the adapters of one product, which CUDA's fastest form of it needs;
 *                       more adapters than there is room for are only slower
 */
public record LoadOptions(WeightStorage storage, int adapterColumns) {
    /** Enough for four adapters of rank 16; with a multiple of it rows begin at whole cache lines. */
    private static final int STEP = 64;

    /** More would make the weights themselves much larger. */
    private static final int MOST = 256;

    public LoadOptions {
        Objects.requireNonNull(storage, "storage");
        if (adapterColumns < 1) {
            throw new IllegalArgumentException("room for " + adapterColumns + " columns of adapters");
        }
    }

    /** With room for adapters that are not known yet. */
    public LoadOptions(WeightStorage storage) {
        this(storage, STEP);
    }

    public static LoadOptions defaults() {
        return new LoadOptions(WeightStorage.AUTO);
    }

    /** A copy with room for adapters in {@code slots} slots; this where that would take too much memory. */
    public LoadOptions withRoomFor(AdapterLayout adapter, int slots) {
        long columns = Math.ceilDiv(columns(adapter, slots), STEP) * STEP;
        return columns > MOST ? this : new LoadOptions(storage, (int) columns);
    }

    boolean hasRoomFor(AdapterLayout adapter, int slots) {
        return columns(adapter, slots) <= adapterColumns;
    }

    /** Kernels round a slot's columns up to a multiple of 8. */
    private static long columns(AdapterLayout adapter, int slots) {
        return Math.ceilDiv(adapter.columns(), 8) * 8L * slots;
    }
}
