package io.metalora.model;

import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
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
    /** What the Java heap and the working memory of the ops take beside the buffers that are counted, on the CPU. */
    private static final long RESERVE = 192L << 20;

    /**
     * The same on a GPU: the logits of a chunk of rows (512 MiB at most), the gradients' parts, cuBLASLt's workspace, and
     * what products are tried out with.
     */
    private static final long DEVICE_RESERVE = 1L << 30;

    public MemoryEstimate plus(MemoryEstimate other) {
        return new MemoryEstimate(
                sum(weights, other.weights), sum(activations, other.activations), sum(adapters, other.adapters));
    }

    public long total() {
        return sum(sum(weights, activations), adapters);
    }

    /** Of sizes, at least 0; capped as {@link #sum} is. */
    public static long product(long a, long b) {
        return a != 0 && b > Long.MAX_VALUE / a ? Long.MAX_VALUE : a * b;
    }

    /** Of sizes, at least 0; what no long holds is the largest there is, which fits nowhere either. */
    static long sum(long a, long b) {
        long sum = a + b;
        return sum < 0 ? Long.MAX_VALUE : sum;
    }

    /**
     * Refuses, before anything is allocated, what does not fit the memory that the device has left now.
     *
     * @param what what the memory is for, as the subject of the message
     * @param help what the user can do about it
     */
    public void requireFits(Device device, String what, String help) {
        var info = device.info();
        if (info.backend() == Backend.CPU) {
            requireFits(what, help, "memory", RESERVE, SystemMemory.available());
        } else {
            long reserve = Math.max(0, DEVICE_RESERVE - device.scratchBytes()); // what is held serves the next ops too
            requireFits(what, help, "memory of " + info.deviceName(), reserve, info.memoryFree());
        }
    }

    /** @param available below 0: it could not be told, and what is too much will show when it is taken */
    void requireFits(String what, String help, String memory, long reserve, long available) {
        long needed = sum(total(), reserve);
        if (available >= 0 && needed > available) {
            throw new InputException(what + " needs " + size(needed) + " of " + memory + " ("
                    + parts() + ", other " + size(reserve) + "), but " + size(available) + " are available; " + help);
        }
    }

    /** What is held together with the ops' scratch memory, in words. */
    public String describe(long scratch) {
        return parts() + ", scratch " + size(scratch) + ": " + size(sum(total(), scratch));
    }

    private String parts() {
        return "weights " + size(weights) + ", activations " + size(activations) + ", adapters " + size(adapters);
    }

    static String size(long bytes) {
        return bytes < 1L << 30
                ? String.format(Locale.ROOT, "%.0f MiB", bytes / 0x1p20)
                : String.format(Locale.ROOT, "%.2f GiB", bytes / 0x1p30);
    }
}
