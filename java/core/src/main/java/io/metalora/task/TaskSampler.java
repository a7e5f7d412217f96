package io.metalora.task;

/** Decides which tasks form the meta-batch of an iteration. */
@FunctionalInterface
public interface TaskSampler {

    /** Distinct task indices; the i-th gets adapter slot i. The same iteration always gives the same answer. */
    int[] sample(long iteration);

    /** {@code count} of {@code tasks}, without replacement, all choices equally likely. */
    static TaskSampler uniform(int tasks, int count, long seed) {
        if (count < 1 || count > tasks) {
            throw new IllegalArgumentException("can't draw " + count + " of " + tasks + " tasks");
        }
        return iteration -> new CounterRandom(seed, CounterRandom.Purpose.TASKS, iteration).distinct(count, tasks);
    }
}
