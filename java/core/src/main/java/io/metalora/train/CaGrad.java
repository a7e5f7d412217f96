package io.metalora.train;

import java.util.Arrays;

/**
 * Conflict-averse gradient descent (Liu et al. 2021, algorithm 1): of all directions within c |g_0| of the mean g_0, that along
 * which the worst-off task gains most. It is g_0 + c |g_0| g_w / |g_w|, where g_w is the convex combination that minimizes
 * g_w . g_0 + c |g_0| |g_w|. With c = 0 it is the mean.
 */
final class CaGrad implements Aggregation {

    private static final double ACCURACY = 1e-6;
    private static final double ROUNDING = 1e-15; // of the longest gradient's square

    /** Shorter than this, by the longest gradient, a combination of float gradients has no direction. */
    private static final double CANCELLED = 1e-6;

    private final double c;

    /** @param c in [0, 1) */
    CaGrad(double c) {
        this.c = c;
    }

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
        var ofMean = new double[n]; // g_i . g_0
        double square = 0;
        double scale = 0;
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                ofMean[i] += gram[i * n + j] / n;
            }
            square += ofMean[i] / n;
            scale = Math.max(scale, gram[i * n + i]);
        }
        double radius = c * Math.sqrt(Math.max(0, square));
        double[] w = Simplex.minimize(n, (at, slope) -> {
            double length = times(gram, at, slope);
            for (int i = 0; i < n; i++) {
                slope[i] = ofMean[i] + (length > 0 ? radius * slope[i] / length : 0);
            }
        }, ACCURACY, ROUNDING * scale);
        double length = times(gram, w, new double[n]);
        // Where gradients cancel, the way to go is rounding, and no way serves the worst-off: the mean is as good as any.
        double more = length > CANCELLED * Math.sqrt(scale) ? radius / length : 0;
        for (int i = 0; i < n; i++) {
            weights[i] = (float) (1.0 / n + more * w[i]);
        }
    }

    /** The Gram matrix times {@code w}, and the length of the combination that {@code w} gives. */
    private static double times(double[] gram, double[] w, double[] product) {
        int n = w.length;
        double square = 0;
        for (int i = 0; i < n; i++) {
            product[i] = 0;
            for (int j = 0; j < n; j++) {
                product[i] += gram[i * n + j] * w[j];
            }
            square += w[i] * product[i];
        }
        return Math.sqrt(Math.max(0, square));
    }
}
