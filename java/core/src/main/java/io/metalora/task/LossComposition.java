package io.metalora.task;

import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import java.util.List;

/**
 * Draws tasks whose query loss falls slowest more often, as dynamic weight averaging weighs them (Liu, Johns and Davison 2019):
 * task i in proportion to exp(r_i / temperature), where r_i is its recent loss divided by its older one. Tasks are not measured in every
 * iteration, so that the two are running means of its measurements, of which the recent one forgets faster. A task that was not
 * measured twice counts as one whose loss doesn't fall.
 */
public final class LossComposition implements Composition {

    private static final float NEWER = 0.5f;
    private static final float OLDER = 0.1f;
    /** The largest ratio: a loss that grows more does not raise the probability further. */
    private static final double MOST = 2;

    private final int count;
    private final double temperature;
    private final long seed;
    private final float[] means; // newer and older of each task; 0: not measured yet

    /**
     * @param count       of {@code tasks} an iteration
     * @param temperature above 0: the smaller, the more the slowest are preferred
     */
    public LossComposition(int tasks, int count, double temperature, long seed) {
        Composition.requireCount(tasks, count);
        this.count = count;
        this.temperature = temperature;
        this.seed = seed;
        this.means = new float[2 * tasks];
    }

    @Override
    public List<Drawn> draw(long iteration) {
        return WeightedDraw.draw(means.length / 2, count, new CounterRandom(seed, Purpose.TASKS, iteration),
                (task, before) -> ratio(task) / temperature);
    }

    private double ratio(int task) {
        double older = means[2 * task + 1];
        return older > 0 ? Math.min(MOST, means[2 * task] / older) : 1;
    }

    @Override
    public void observe(int[] tasks, double[] queryLoss, double[] cosines) {
        for (int i = 0; i < tasks.length; i++) {
            float loss = (float) Math.clamp(queryLoss[i], Float.MIN_NORMAL, Float.MAX_VALUE);
            int at = 2 * tasks[i];
            boolean first = means[at] == 0;
            means[at] = first ? loss : means[at] + NEWER * (loss - means[at]);
            means[at + 1] = first ? loss : means[at + 1] + OLDER * (loss - means[at + 1]);
        }
    }

    @Override
    public float[] state() {
        return means.clone();
    }

    @Override
    public void restore(float[] state) {
        if (state.length != means.length) {
            throw new IllegalArgumentException("a state of " + state.length + " numbers, not of the " + means.length + " of a composition by loss");
        }
        System.arraycopy(state, 0, means, 0, means.length);
    }
}
