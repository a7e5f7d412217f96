package io.metalora.task;

/**
 * Which tasks form an iteration. What it draws depends on the seed, the iteration's number and its state, so that a run that
 * was killed goes on as if it had not been.
 */
public interface Composition {

    /** A state that never changes. */
    float[] STATELESS = {};

    /** Distinct task indices; the i-th gets adapter slot i. */
    int[] draw(long iteration);

    /** What the next draws depend on beside the iteration's number; checkpoints carry it. Finite. */
    default float[] state() {
        return STATELESS;
    }

    /**
     * Goes on from a state.
     *
     * @throws IllegalArgumentException if it is not a state of this composition
     */
    default void restore(float[] state) {
        if (state.length != 0) {
            throw new IllegalArgumentException("a state of " + state.length + " numbers for a composition that has none");
        }
    }

    /** {@code count} of {@code tasks}, without replacement, all choices equally likely. */
    static Composition uniform(int tasks, int count, long seed) {
        if (count < 1 || count > tasks) {
            throw new IllegalArgumentException("can't draw " + count + " of " + tasks + " tasks");
        }
        return iteration -> new CounterRandom(seed, CounterRandom.Purpose.TASKS, iteration).distinct(count, tasks);
    }
}
