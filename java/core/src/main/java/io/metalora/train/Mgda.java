package io.metalora.train;

import java.util.Arrays;

/**
 * Multiple-gradient descent (Sener and Koltun 2018): the convex combination of shortest length. Along it no task's loss grows, to
 * first order; it is zero where no direction helps all.
 */
final class Mgda implements Aggregation {

    private static final double ACCURACY = 1e-6;
    private static final double ROUNDING = 1e-15; // of the longest gradient's square

    @Override
    public boolean dependsOnGradients() {
        return true;
    }

    @Override
    public void weights(double[] gram, long iteration, int[] samples, float[] weights) {
        int n = weights.length;
        if (!Aggregation.isFinite(gram)) {
            Arrays.fill(weights, Float.NaN);
            return;
        }
        double scale = 0;
        for (int i = 0; i < n; i++) {
            scale = Math.max(scale, gram[i * n + i]);
        }
        double[] w = Simplex.minimize(n, (at, slope) -> {
            for (int i = 0; i < n; i++) {
                slope[i] = 0;
                for (int j = 0; j < n; j++) {
                    slope[i] += gram[i * n + j] * at[j];
                }
            }
        }, ACCURACY, ROUNDING * scale);
        for (int i = 0; i < n; i++) {
            weights[i] = (float) w[i];
        }
    }
}
