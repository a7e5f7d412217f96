package io.metalora.task;

import io.metalora.random.CounterRandom;
import java.util.ArrayList;
import java.util.List;

/**
 * Which tasks form an iteration. What it draws depends on the seed, the iteration's number and its state, so that a run that
 * was killed continues as if it had not been. The state follows from what the iterations before it measured.
 */
public interface Composition {

    /** A state that never changes. */
    float[] STATELESS = {};

    /**
     * A task that was drawn.
     *
     * @param task        its index
     * @param probability that it had among the tasks that were left
     */
    record Drawn(int task, double probability) {
    }

    /** Distinct tasks; the i-th gets adapter slot i. */
    List<Drawn> draw(long iteration);

    /**
     * Receives what an iteration measured.
     *
     * @param tasks     indices of its tasks
     * @param queryLoss of each
     * @param cosines   [n, n], row-major, of their query gradients
     */
    default void observe(int[] tasks, double[] queryLoss, double[] cosines) {
    }

    /** What the next draws depend on beside the iteration's number; checkpoints carry it. Finite. */
    default float[] state() {
        return STATELESS;
    }

    /**
     * Continues from a state.
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
        requireCount(tasks, count);
        return iteration -> {
            var drawn = new ArrayList<Drawn>();
            for (int task : new CounterRandom(seed, CounterRandom.Purpose.TASKS, iteration).distinct(count, tasks)) {
                drawn.add(new Drawn(task, 1.0 / (tasks - drawn.size())));
            }
            return drawn;
        };
    }

    /** @throws IllegalArgumentException if so many can't be drawn */
    static void requireCount(int tasks, int count) {
        if (count < 1 || count > tasks) {
            throw new IllegalArgumentException("can't draw " + count + " of " + tasks + " tasks");
        }
    }
}
