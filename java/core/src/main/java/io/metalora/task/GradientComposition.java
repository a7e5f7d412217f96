package io.metalora.task;

import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import java.util.List;

/**
 * Draws tasks by the cosines that their query gradients had when they were drawn together. The first is drawn uniformly; each
 * further one in proportion to exp(c / temperature), where c is the mean of the cosines that it has had with those drawn before
 * it (a running mean for each pair; 0 for pairs that never met). With a negative sign, tasks are preferred that point elsewhere.
 */
public final class GradientComposition implements Composition {

    private static final float NEWEST = 0.2f;

    /** The state holds a number for each pair. */
    public static final int MOST_TASKS = 2048;

    private final int tasks;
    private final int count;
    private final double scale; // 1 / temperature, with the sign
    private final long seed;
    private final float[] cosines; // [tasks, tasks]

    /**
     * @param count       of {@code tasks} an iteration
     * @param agree       whether tasks are preferred that point the same way; else those that cover other ways
     * @param temperature above 0: the smaller, the stronger the preference
     */
    public GradientComposition(int tasks, int count, boolean agree, double temperature, long seed) {
        Composition.requireCount(tasks, count);
        if (tasks > MOST_TASKS) {
            throw new IllegalArgumentException(tasks + " tasks, more than " + MOST_TASKS);
        }
        this.tasks = tasks;
        this.count = count;
        this.scale = (agree ? 1 : -1) / temperature;
        this.seed = seed;
        this.cosines = new float[tasks * tasks];
    }

    @Override
    public List<Drawn> draw(long iteration) {
        return WeightedDraw.draw(tasks, count, new CounterRandom(seed, Purpose.TASKS, iteration),
                (task, before) -> scale * before.stream().mapToDouble(drawn -> cosines[drawn.task() * tasks + task]).average().orElse(0));
    }

    @Override
    public void observe(int[] drawn, double[] queryLoss, double[] measured) {
        int n = drawn.length;
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                int at = drawn[i] * tasks + drawn[j];
                cosines[at] += NEWEST * ((float) Math.clamp(measured[i * n + j], -1, 1) - cosines[at]);
            }
        }
    }

    @Override
    public float[] state() {
        return cosines.clone();
    }

    @Override
    public void restore(float[] state) {
        if (state.length != cosines.length) {
            throw new IllegalArgumentException("a state of " + state.length + " numbers, not of the " + cosines.length + " of " + tasks + " tasks");
        }
        System.arraycopy(state, 0, cosines, 0, state.length);
    }
}
