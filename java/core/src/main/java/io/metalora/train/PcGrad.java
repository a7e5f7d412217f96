package io.metalora.train;

import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import java.util.Arrays;

/**
 * Projecting conflicting gradients (Yu et al. 2020, algorithm 1): each g_i is, task by task in random order, freed of its part
 * along every g_j that it points against; the mean of what is left is taken. The paper takes the sum; the mean has its direction,
 * and the length that the other rules have.
 */
final class PcGrad implements Aggregation {

    private final long seed;

    /** @param seed of the order, in which the outcome differs */
    PcGrad(long seed) {
        this.seed = seed;
    }

    @Override
    public boolean dependsOnGradients() {
        return true;
    }

    @Override
    public void weights(double[] gram, long iteration, int[] samples, float[] weights) {
        int n = weights.length;
        var sum = new double[n];
        var random = new CounterRandom(seed, Purpose.AGGREGATION, iteration);
        for (int i = 0; i < n; i++) {
            // The projected gradient is sum_k c_k g_k.
            var c = new double[n];
            c[i] = 1;
            for (int j : random.distinct(n, n)) {
                double along = 0;
                for (int k = 0; k < n; k++) {
                    along += c[k] * gram[k * n + j];
                }
                double square = gram[j * n + j];
                if (j != i && along < 0 && square > 0) {
                    c[j] -= along / square;
                }
            }
            Arrays.setAll(sum, k -> sum[k] + c[k]);
        }
        for (int k = 0; k < n; k++) {
            weights[k] = (float) (sum[k] / n);
        }
    }
}
