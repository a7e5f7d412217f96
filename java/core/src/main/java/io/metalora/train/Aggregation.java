package io.metalora.train;

import io.metalora.config.TrainConfig;
import java.util.Arrays;

/**
 * How the query gradients g_i of n tasks become the one that updates the shared adapter: sum_i w_i g_i. The weights depend
 * on the Gram matrix of the gradients alone, n x n numbers, however many parameters the adapter has, and on the tasks' sizes.
 */
interface Aggregation {

    /** w_i = 1 / n. */
    Aggregation MEAN = new Aggregation() {
        @Override
        public boolean dependsOnGradients() {
            return false;
        }

        @Override
        public void weights(double[] gram, long iteration, int[] samples, float[] weights) {
            Arrays.fill(weights, 1f / weights.length);
        }
    };

    /** w_i proportional to the samples of task i. */
    Aggregation WEIGHTED = new Aggregation() {
        @Override
        public boolean dependsOnGradients() {
            return false;
        }

        @Override
        public void weights(double[] gram, long iteration, int[] samples, float[] weights) {
            double all = Arrays.stream(samples).asDoubleStream().sum();
            for (int i = 0; i < weights.length; i++) {
                weights[i] = (float) (samples[i] / all);
            }
        }
    };

    /** Whether the weights need the Gram matrix: the host then waits for it in every iteration. */
    boolean dependsOnGradients();

    /**
     * Computes the weights.
     *
     * @param gram      [n, n], g_i . g_j; null where the weights do not depend on it
     * @param iteration iterations done before
     * @param samples   [n], training samples of each task
     * @param weights   [n], written
     */
    void weights(double[] gram, long iteration, int[] samples, float[] weights);

    /** The one that a configuration asks for. */
    static Aggregation of(TrainConfig config) {
        return switch (config.meta().aggregation()) {
            case MEAN -> MEAN;
            case WEIGHTED -> WEIGHTED;
            case PCGRAD -> new PcGrad(config.seed());
            case CAGRAD -> new CaGrad(config.meta().cagradC());
            case MGDA -> new Mgda();
        };
    }

    /** Whether every number of a Gram matrix is finite; where one is not, no weights can help. */
    static boolean isFinite(double[] gram) {
        return Arrays.stream(gram).allMatch(Double::isFinite);
    }
}
