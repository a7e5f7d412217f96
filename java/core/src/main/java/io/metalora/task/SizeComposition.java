package io.metalora.task;

import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import java.util.Arrays;
import java.util.List;

/** Draws task i in proportion to n_i^(1/temperature), where n_i are its samples: 1 as they are, large ones nearly uniformly. */
public final class SizeComposition implements Composition {

    private final double[] logWeights;
    private final int count;
    private final long seed;

    /**
     * @param samples     of each task, at least 1
     * @param count       tasks per iteration
     * @param temperature above 0
     */
    public SizeComposition(int[] samples, int count, double temperature, long seed) {
        Composition.requireCount(samples.length, count);
        this.logWeights = Arrays.stream(samples).mapToDouble(n -> Math.log(n) / temperature).toArray();
        this.count = count;
        this.seed = seed;
    }

    @Override
    public List<Drawn> draw(long iteration) {
        return WeightedDraw.draw(logWeights.length, count, new CounterRandom(seed, Purpose.TASKS, iteration), (task, before) -> logWeights[task]);
    }
}
