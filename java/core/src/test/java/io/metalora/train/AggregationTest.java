package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.metalora.config.AggregationRule;
import io.metalora.config.TrainConfig;
import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Each rule against a direct computation on gradients, and against the property that defines it. */
class AggregationTest {

    private static final int TRIALS = 200;

    private final Random random = new Random(1);

    /** Gradients of several tasks, of unlike lengths and often in conflict. */
    private double[][] gradients(int n, int dimension) {
        var g = new double[n][dimension];
        for (double[] row : g) {
            double length = Math.exp(2 * random.nextGaussian());
            Arrays.setAll(row, i -> length * random.nextGaussian());
        }
        return g;
    }

    private static double dot(double[] a, double[] b) {
        return IntStream.range(0, a.length).mapToDouble(i -> a[i] * b[i]).sum();
    }

    private static double length(double[] a) {
        return Math.sqrt(dot(a, a));
    }

    private static double[] gram(double[][] g) {
        int n = g.length;
        var gram = new double[n * n];
        Arrays.setAll(gram, i -> dot(g[i / n], g[i % n]));
        return gram;
    }

    private static double[] combination(double[][] g, float[] weights) {
        var sum = new double[g[0].length];
        for (int i = 0; i < g.length; i++) {
            for (int k = 0; k < sum.length; k++) {
                sum[k] += weights[i] * g[i][k];
            }
        }
        return sum;
    }

    private static double[] direction(Aggregation rule, double[][] g, long iteration) {
        var weights = new float[g.length];
        rule.weights(rule.dependsOnGradients() ? gram(g) : null, iteration, new int[g.length], weights);
        return combination(g, weights);
    }

    private static double longest(double[][] g) {
        return Arrays.stream(g).mapToDouble(AggregationTest::length).max().orElseThrow();
    }

    private static double worst(double[][] g, double[] d) {
        return Arrays.stream(g).mapToDouble(row -> dot(row, d)).min().orElseThrow();
    }

    @Test
    void theMeanAndTheWeightedMean() {
        var weights = new float[4];
        Aggregation.MEAN.weights(null, 0, new int[] {1, 2, 3, 4}, weights);
        assertThat(weights).containsOnly(0.25f);
        Aggregation.WEIGHTED.weights(null, 0, new int[] {1, 2, 3, 4}, weights);
        assertThat(weights).containsExactly(0.1f, 0.2f, 0.3f, 0.4f);
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5, 8})
    void pcGradProjectsAsItsAlgorithmDoesOnTheGradientsThemselves(int n) {
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(n, 6);
            var expected = new double[6];
            var order = new CounterRandom(7, Purpose.AGGREGATION, trial);
            for (int i = 0; i < n; i++) {
                double[] projected = g[i].clone();
                for (int j : order.distinct(n, n)) {
                    double along = dot(projected, g[j]);
                    if (j != i && along < 0) {
                        double[] other = g[j];
                        Arrays.setAll(projected, k -> projected[k] - along / dot(other, other) * other[k]);
                    }
                }
                Arrays.setAll(expected, k -> expected[k] + projected[k] / n);
            }
            double[] actual = direction(new PcGrad(7), g, trial);
            for (int k = 0; k < 6; k++) {
                assertThat(actual[k]).isCloseTo(expected[k], within(1e-5 * longest(g)));
            }
        }
    }

    @Test
    void pcGradOfTwoTasksConflictsWithNeither() {
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(2, 5);
            double[] d = direction(new PcGrad(1), g, trial);
            assertThat(worst(g, d)).isGreaterThan(-1e-5 * longest(g) * longest(g));
            if (dot(g[0], g[1]) >= 0) {
                assertThat(d[0]).isCloseTo((g[0][0] + g[1][0]) / 2, within(1e-6 * longest(g)));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5, 8})
    void mgdaGivesTheShortestCombinationWhichHurtsNoTask(int n) {
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(n, n + trial % 3 - 1);
            double[] d = direction(new Mgda(), g, trial);
            // The variational inequality that marks the point of least norm in a convex set, up to the weights' rounding to floats.
            for (double[] row : g) {
                assertThat(dot(row, d)).isGreaterThan((1 - 1e-5) * dot(d, d) - 1e-6 * longest(g) * length(row));
            }
            for (int other = 0; other < 50; other++) {
                double[] w = DoubleStream.generate(() -> -Math.log(1 - random.nextDouble())).limit(n).toArray();
                double sum = Arrays.stream(w).sum();
                var weights = new float[n];
                for (int i = 0; i < n; i++) {
                    weights[i] = (float) (w[i] / sum);
                }
                assertThat(length(combination(g, weights))).isGreaterThan(length(d) - 1e-4 * longest(g));
            }
        }
    }

    @Test
    void mgdaOfTwoTasksIsItsClosedForm() {
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(2, 4);
            double[] a = g[0];
            double[] b = g[1];
            var difference = new double[] {b[0] - a[0], b[1] - a[1], b[2] - a[2], b[3] - a[3]};
            double share = Math.clamp(dot(difference, b) / dot(difference, difference), 0, 1); // of a
            double[] d = direction(new Mgda(), g, 0);
            for (int k = 0; k < 4; k++) {
                assertThat(d[k]).isCloseTo(share * a[k] + (1 - share) * b[k], within(2e-4 * longest(g)));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 5})
    void caGradLiesOnItsBallAndServesTheWorstOffTaskBest(int n) {
        double c = 0.4;
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(n, 5);
            double[] mean = direction(Aggregation.MEAN, g, 0);
            double[] d = direction(new CaGrad(c), g, 0);
            double radius = c * length(mean);
            var away = new double[5];
            Arrays.setAll(away, k -> d[k] - mean[k]);
            double scale = longest(g);
            assertThat(length(away)).isCloseTo(radius, within(1e-4 * scale));
            for (int other = 0; other < 500; other++) {
                double[] way = random.doubles(5, -1, 1).toArray();
                double to = radius * Math.cbrt(random.nextDouble()) / length(way);
                var tried = new double[5];
                Arrays.setAll(tried, k -> mean[k] + to * way[k]);
                assertThat(worst(g, tried)).isLessThan(worst(g, d) + 1e-3 * scale * Math.max(radius, 1e-3 * scale));
            }
        }
    }

    /** A long gradient must not hide from the rule that a short one is hurt. */
    @Test
    void mgdaServesShortGradientsBesideLongOnes() {
        double[][] g = {{1, 0, 0.1}, {-0.8, 0.9, 0}, {0, 1e4, 1e4}};
        double[] d = direction(new Mgda(), g, 0);
        assertThat(length(d)).isBetween(0.1, 1.0);
        for (double[] row : g) {
            assertThat(dot(row, d)).isGreaterThan(0.999 * dot(d, d));
        }
    }

    @Test
    void whereGradientsCancelCaGradIsTheMean() {
        double[][] g = {{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}};
        double[] mean = direction(Aggregation.MEAN, g, 0);
        double[] d = direction(new CaGrad(0.4), g, 0);
        for (int k = 0; k < 3; k++) {
            assertThat(d[k]).isCloseTo(mean[k], within(0.4 * length(mean) + 1e-6));
        }
    }

    @Test
    void caGradWithoutRoomIsTheMean() {
        for (int trial = 0; trial < TRIALS; trial++) {
            double[][] g = gradients(4, 5);
            assertThat(direction(new CaGrad(0), g, 0)).isEqualTo(direction(Aggregation.MEAN, g, 0));
        }
    }

    @Test
    void gradientsThatAreZeroOrAlikeOrNotFiniteAreTakenAsTheyAre() {
        var rules = new Aggregation[] {new PcGrad(1), new Mgda(), new CaGrad(0.4)};
        for (Aggregation rule : rules) {
            var weights = new float[3];
            rule.weights(new double[9], 0, new int[3], weights);
            for (float weight : weights) {
                assertThat(Float.isFinite(weight)).isTrue();
            }
            double[][] alike = {{1, 2}, {1, 2}, {1, 2}};
            double[] d = direction(rule, alike, 0);
            assertThat(d[1] / d[0]).isCloseTo(2, within(1e-5));
            assertThat(length(d)).isGreaterThan(0.9 * length(alike[0]));
        }
        for (Aggregation rule : new Aggregation[] {new Mgda(), new CaGrad(0.4)}) {
            var weights = new float[2];
            rule.weights(new double[] {1, Double.NaN, Double.NaN, 1}, 0, new int[2], weights);
            assertThat(weights).containsOnly(Float.NaN);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"mean", "weighted", "pcgrad", "cagrad", "mgda"})
    void aConfigurationNamesThem(String name) {
        Aggregation rule = Aggregation.of(TrainConfig.of("meta.aggregation=" + name));
        assertThat(rule.dependsOnGradients()).isEqualTo(!name.equals("mean") && !name.equals("weighted"));
        assertThat(AggregationRule.valueOf(name.toUpperCase(Locale.ROOT))).isNotNull();
    }
}
