package io.metalora.runtime.op;

/** Vectors with a value for each parameter of an adapter: one per slot, {@code stride} floats from one to the next. */
public record SlotVectors(long count, long stride, long slots) {
    public SlotVectors {
        if (count < 0 || slots < 0 || stride < count) {
            throw new IllegalArgumentException(slots + " slots of " + count + " floats, " + stride + " apart");
        }
    }

    /** Without gaps between the slots. */
    public static SlotVectors dense(long count, long slots) {
        return new SlotVectors(count, count, slots);
    }

    /** Floats from the first to the end of the last. */
    long elements() {
        return slots == 0 ? 0 : (slots - 1) * stride + count;
    }
}
