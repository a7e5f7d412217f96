package io.metalora.model;

import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.SystemMemory;
import io.metalora.runtime.op.DeviceAccess;
import java.util.Locale;

/**
 * Bytes that a model and work with it will hold. What is more than a long counts as {@link Long#MAX_VALUE}, which no memory
 * has.
 *
 * @param weights     frozen weights
 * @param activations buffers of passes and caches
 * @param adapters    adapter slots, their gradients and optimizer state
 */
public record MemoryEstimate(long weights, long activations, long adapters) {
    /** What the Java heap and the working memory of the ops take beside the buffers that are counted, on the CPU. */
    private static final long RESERVE = 192L << 20;

    /**
     * The same on a GPU: the logits of a chunk of rows (512 MiB at most), the gradients' parts, cuBLASLt's workspace, and the
     * buffers in which products are measured.
     */
    private static final long DEVICE_RESERVE = 1L << 30;

    public MemoryEstimate {
        if (weights < 0 || activations < 0 || adapters < 0) {
            throw new IllegalArgumentException("bytes of weights " + weights + ", activations " + activations + ", adapters " + adapters);
        }
    }

    public MemoryEstimate plus(MemoryEstimate other) {
        return new MemoryEstimate(sum(weights, other.weights), sum(activations, other.activations), sum(adapters, other.adapters));
    }

    public long total() {
        return sum(sum(weights, activations), adapters);
    }

    /** a + b of numbers that are not negative; Long.MAX_VALUE where it is more. */
    public static long sum(long a, long b) {
        return b > Long.MAX_VALUE - a ? Long.MAX_VALUE : a + b;
    }

    /** The product of numbers that are not negative; Long.MAX_VALUE where it is more. */
    public static long product(long... factors) {
        long product = 1;
        boolean over = false;
        for (long factor : factors) {
            if (factor == 0) {
                return 0;
            }
            over |= factor > Long.MAX_VALUE / product;
            product = over ? Long.MAX_VALUE : product * factor;
        }
        return product;
    }

    /**
     * Refuses, before anything is allocated, what does not fit the memory that the device has left now.
     *
     * @param what what the memory is for, as the subject of the message
     * @param help what the user can do about it
     */
    public void requireFits(Device device, String what, String help) {
        var info = device.info();
        if (DeviceAccess.get().hasOwnMemory(device)) {
            long reserve = Math.max(0, DEVICE_RESERVE - DeviceAccess.get().scratchBytes(device)); // what is held serves the next ops too
            requireFits(what, help, "memory of " + info.deviceName(), reserve, info.memoryFree());
        } else {
            requireFits(what, help, "memory", RESERVE, SystemMemory.available());
        }
    }

    /** @param available below 0 if unknown: what is too much then shows when it is allocated */
    void requireFits(String what, String help, String memory, long reserve, long available) {
        long needed = sum(total(), reserve);
        if (available >= 0 && (needed > available || needed == Long.MAX_VALUE)) {
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
        if (bytes == Long.MAX_VALUE) {
            return "more than 8 EiB";
        }
        return bytes < 1L << 30 ? String.format(Locale.ROOT, "%.0f MiB", bytes / 0x1p20)
                : bytes < 1L << 50 ? String.format(Locale.ROOT, "%.2f GiB", bytes / 0x1p30)
                : String.format(Locale.ROOT, "%.2f PiB", bytes / 0x1p50);
    }
}
