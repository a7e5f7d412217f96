package io.metalora.random;


/**
 * A counter-based random generator: draw {@code i} is a function of (seed, purpose, iteration, task, i) and of nothing
 * else. No generator lives from one iteration to the next, so a resumed run needs no generator state, and a task's draws
 * do not depend on which other tasks there are.
 *
 * <p>The words are SplitMix64 (Steele, Lea and Flood 2014): the key is the finalizer applied over
 * seed, purpose number, iteration and the FNV-1a hash of the task's name in turn, and draw i is the finalizer of
 * key + (i + 1) * 0x9E3779B97F4A7C15.
 */
public final class CounterRandom {

    /** What a draw decides. The numbers are part of the stream's definition: never renumber. */
    public enum Purpose {
        /** Which samples of a task training may see (iteration 0). */
        SUBSET(1),
        /** Which tasks form a meta-batch. */
        TASKS(2),
        /** Support and query of one task. */
        EPISODE(3),
        /** The order of all samples in one epoch of joint training (the epoch stands for the iteration). */
        EPOCH(4),
        /** Seed of the adapter's dropout masks. */
        DROPOUT(5),
        /** Which tasks, and which items of a task, are evaluated. */
        EVALUATION(6),
        /** The order in which the aggregation takes the tasks' gradients. */
        AGGREGATION(7);

        private final int number;

        Purpose(int number) {
            this.number = number;
        }
    }

    private final long key;
    private long counter;

    /** The stream of one decision that concerns no single task. */
    public CounterRandom(long seed, Purpose purpose, long iteration) {
        this(seed, purpose, iteration, "");
    }

    /** The stream of one decision that concerns one task. */
    public CounterRandom(long seed, Purpose purpose, long iteration, String task) {
        long k = SplitMix64.finalizer(seed + SplitMix64.GOLDEN);
        k = SplitMix64.finalizer(k + purpose.number * SplitMix64.GOLDEN);
        k = SplitMix64.finalizer(k + (iteration + 1) * SplitMix64.GOLDEN);
        this.key = SplitMix64.finalizer(k + SplitMix64.fnv1a(task));
    }

    /** 64 uniform bits. */
    public long nextLong() {
        counter++;
        return SplitMix64.finalizer(key + counter * SplitMix64.GOLDEN);
    }

    /** Uniform in [0, bound), without bias (Lemire 2019). */
    public int nextInt(int bound) {
        if (bound < 1) {
            throw new IllegalArgumentException("bound " + bound + " is not positive");
        }
        long threshold = Integer.remainderUnsigned(-bound, bound);
        while (true) {
            long product = (nextLong() >>> 32) * bound;
            if ((product & 0xFFFFFFFFL) >= threshold) {
                return (int) (product >>> 32);
            }
        }
    }

    /**
     * {@code count} distinct numbers of [0, bound), every ordered choice equally likely (Fisher and Yates). A larger
     * count from the same stream begins with the smaller one's numbers.
     */
    public int[] distinct(int count, int bound) {
        if (count < 0 || count > bound) {
            throw new IllegalArgumentException("can't draw " + count + " distinct numbers below " + bound);
        }
        int[] all = new int[bound];
        for (int i = 0; i < bound; i++) {
            all[i] = i;
        }
        for (int i = 0; i < count; i++) {
            int j = i + nextInt(bound - i);
            int swapped = all[i];
            all[i] = all[j];
            all[j] = swapped;
        }
        return java.util.Arrays.copyOf(all, count);
    }
}
