package io.metalora.train;

import java.util.Arrays;

/**
 * How the query gradients g_i of n tasks become the one that the shared adapter is moved by: sum_i w_i g_i. The weights depend
 * on the Gram matrix of the gradients alone, n x n numbers, however many parameters the adapter has.
 */
interface Aggregation {

    /** w_i = 1 / n. */
    Aggregation MEAN = new Aggregation() {
        @Override
        public boolean dependsOnGradients() {
            return false;
        }

        @Override
        public void weights(double[] gram, float[] weights) {
            Arrays.fill(weights, 1f / weights.length);
        }
    };

    /** Whether the weights need the Gram matrix: the host then waits for it in every iteration. */
    boolean dependsOnGradients();

    /**
     * Computes the weights.
     *
     * @param gram    [n, n], g_i . g_j; null where the weights do not depend on it
     * @param weights [n], written
     */
    void weights(double[] gram, float[] weights);
}
