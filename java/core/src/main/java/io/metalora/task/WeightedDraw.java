package io.metalora.task;

import io.metalora.random.CounterRandom;
import io.metalora.task.Composition.Drawn;
import java.util.ArrayList;
import java.util.List;

/** Draws without replacement, one after the other, each in proportion to a weight among those that are left. */
final class WeightedDraw {

    /** 2^-53: a long's upper bits as a double in [0, 1). */
    private static final double UNIT = 0x1p-53;

    private WeightedDraw() {
    }

    /** The weight of a task, given those drawn before it. */
    @FunctionalInterface
    interface LogWeight {

        /** Its logarithm, finite. */
        double of(int task, List<Drawn> before);
    }

    static List<Drawn> draw(int tasks, int count, CounterRandom random, LogWeight weight) {
        var drawn = new ArrayList<Drawn>();
        var taken = new boolean[tasks];
        var weights = new double[tasks];
        for (int i = 0; i < count; i++) {
            double most = Double.NEGATIVE_INFINITY;
            for (int task = 0; task < tasks; task++) {
                weights[task] = taken[task] ? Double.NEGATIVE_INFINITY : weight.of(task, drawn);
                most = Math.max(most, weights[task]);
            }
            double sum = 0;
            for (int task = 0; task < tasks; task++) {
                weights[task] = Math.exp(weights[task] - most); // 0 of one that is taken
                sum += weights[task];
            }
            double at = (random.nextLong() >>> 11) * UNIT * sum;
            int chosen = -1;
            for (int task = 0; task < tasks && (chosen < 0 || at >= 0); task++) {
                if (!taken[task]) {
                    chosen = task; // the last that is left, should rounding carry past the end
                    at -= weights[task];
                    if (at < 0) {
                        break;
                    }
                }
            }
            taken[chosen] = true;
            drawn.add(new Drawn(chosen, weights[chosen] / sum));
        }
        return drawn;
    }
}
