package io.metalora.model;

import io.metalora.runtime.InputException;
import io.metalora.runtime.SystemMemory;
import java.util.Locale;

/**
 * Bytes that a model and work with it will hold.
 *
 * @param weights     frozen weights
 * @param activations buffers of passes and caches
 * @param adapters    adapter slots, their gradients and optimizer state
 */
public record MemoryEstimate(long weights, long activations, long adapters) {
    /** What the Java heap and the working memory of the ops take beside the buffers that are counted. */
    private static final long RESERVE = 192L << 20;

    public MemoryEstimate plus(MemoryEstimate other) {
        return new MemoryEstimate(
                weights + other.weights, activations + other.activations, adapters + other.adapters);
    }

    public long total() {
        return weights + activations + adapters;
    }

    /**
     * Refuses, before anything is allocated, what does not fit the memory available now.
     *
     * @param what what the memory is for, as the subject of the message
     * @param help what the user can do about it
     */
    public void requireFits(String what, String help) {
        requireFits(what, help, SystemMemory.available());
    }

    void requireFits(String what, String help, long available) {
        if (total() + RESERVE > available) {
            throw new InputException(what + " needs " + size(total() + RESERVE) + " of memory (weights "
                    + size(weights) + ", activations " + size(activations) + ", adapters " + size(adapters)
                    + ", other " + size(RESERVE) + "), but " + size(available) + " are available; " + help);
        }
    }

    private static String size(long bytes) {
        return bytes < 1L << 30
                ? String.format(Locale.ROOT, "%.0f MiB", bytes / 0x1p20)
                : String.format(Locale.ROOT, "%.2f GiB", bytes / 0x1p30);
    }
}
