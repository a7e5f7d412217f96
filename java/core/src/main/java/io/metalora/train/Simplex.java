package io.metalora.train;

import java.util.Arrays;

/**
 * Minimizes a convex function over the simplex {w : w_i >= 0, sum_i w_i = 1} by pairwise Frank-Wolfe steps (Lacoste-Julien and
 * Jaggi 2015): weight moves from the worst corner in use to the best one, as far as the function falls.
 */
final class Simplex {

    private static final int MOST_STEPS = 10_000;

    /** Halvings of the step's range: as many as a double can tell apart. */
    private static final int HALVINGS = 60;

    private Simplex() {
    }

    /** The function's slope. */
    interface Slope {

        /** Writes the gradient at {@code w}. */
        void gradient(double[] w, double[] gradient);
    }

    /**
     * A minimum, from the middle on.
     *
     * @param relative the most by which the slope along w may exceed its least component, as a share of the former: for w^T G w, by
     *                 how much of its own square the combination may fail to serve the worst-off
     * @param rounding the same at least, below which the slope is rounding
     */
    static double[] minimize(int n, Slope function, double relative, double rounding) {
        var w = new double[n];
        Arrays.fill(w, 1.0 / n);
        var slope = new double[n];
        var tried = new double[n];
        for (int step = 0; step < MOST_STEPS; step++) {
            function.gradient(w, slope);
            int best = 0;
            int worst = -1;
            double mean = 0;
            for (int i = 0; i < n; i++) {
                best = slope[i] < slope[best] ? i : best;
                worst = w[i] > 0 && (worst < 0 || slope[i] > slope[worst]) ? i : worst;
                mean += w[i] * slope[i];
            }
            if (!(mean - slope[best] > Math.max(relative * Math.abs(mean), rounding))) { // the gap to the minimum is no larger than this
                return w;
            }
            double low = 0;
            double high = w[worst];
            for (int half = 0; half < HALVINGS; half++) {
                double at = half == 0 ? high : 0.5 * (low + high);
                System.arraycopy(w, 0, tried, 0, n);
                tried[worst] -= at;
                tried[best] += at;
                function.gradient(tried, slope);
                if (slope[best] - slope[worst] <= 0) {
                    low = at;
                    if (half == 0) {
                        break;
                    }
                } else {
                    high = at;
                }
            }
            if (low == 0) {
                return w; // no step that a double can tell lowers it
            }
            w[worst] = Math.max(0, w[worst] - low);
            w[best] += low;
        }
        return w;
    }
}
