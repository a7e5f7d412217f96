package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The laws by which tasks are drawn. */
class CompositionTest {

    private static final int DRAWS = 20_000;
    private static final double NOISE = 5 * Math.sqrt(0.25 / DRAWS); // five standard deviations at most

    /** How often each task comes first. */
    private static double[] firsts(Composition composition, int tasks) {
        var counts = new double[tasks];
        for (int i = 0; i < DRAWS; i++) {
            counts[composition.draw(i).getFirst().task()] += 1.0 / DRAWS;
        }
        return counts;
    }

    /** The expected share of each task in a draw of n, by all orders of successive sampling. */
    private static double[] inclusion(double[] weights, int n) {
        var inclusion = new double[weights.length];
        include(weights, n, new boolean[weights.length], 1, inclusion);
        return inclusion;
    }

    private static void include(double[] weights, int n, boolean[] taken, double probability, double[] inclusion) {
        if (n == 0) {
            return;
        }
        double sum = IntStream.range(0, weights.length).filter(i -> !taken[i]).mapToDouble(i -> weights[i]).sum();
        for (int i = 0; i < weights.length; i++) {
            if (!taken[i]) {
                double p = probability * weights[i] / sum;
                inclusion[i] += p;
                taken[i] = true;
                include(weights, n - 1, taken, p, inclusion);
                taken[i] = false;
            }
        }
    }

    static List<Supplier<Composition>> all() {
        int[] samples = {10, 20, 40, 80, 5};
        return List.of(() -> Composition.uniform(5, 3, 4), () -> new SizeComposition(samples, 3, 2, 4), () -> new LossComposition(5, 3, 0.1, 4),
                () -> new GradientComposition(5, 3, true, 0.2, 4), () -> new GradientComposition(5, 3, false, 0.2, 4));
    }

    private static double[] cosines(int iteration, int n) {
        var cosines = new double[n * n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j <= i; j++) {
                cosines[i * n + j] = cosines[j * n + i] = i == j ? 1 : Math.sin(iteration + i * j);
            }
        }
        return cosines;
    }

    private static void train(Composition composition, int from, int to, List<List<Composition.Drawn>> log) {
        for (int i = from; i < to; i++) {
            var drawn = composition.draw(i);
            log.add(drawn);
            int[] tasks = drawn.stream().mapToInt(Composition.Drawn::task).toArray();
            int iteration = i;
            composition.observe(tasks, Arrays.stream(tasks).mapToDouble(task -> (1 + task) * Math.exp(-0.01 * iteration * task)).toArray(),
                    cosines(i, tasks.length));
        }
    }

    @ParameterizedTest
    @MethodSource("all")
    void drawsDistinctTasksAndGoesOnFromItsState(Supplier<Composition> made) {
        var straight = new ArrayList<List<Composition.Drawn>>();
        train(made.get(), 0, 60, straight);
        for (var drawn : straight) {
            assertThat(drawn.stream().map(Composition.Drawn::task)).hasSize(3).doesNotHaveDuplicates();
            assertThat(drawn).allSatisfy(d -> assertThat(d.probability()).isBetween(0.0, 1.0));
        }
        var parts = new ArrayList<List<Composition.Drawn>>();
        var first = made.get();
        train(first, 0, 25, parts);
        var second = made.get();
        second.restore(first.state());
        train(second, 25, 60, parts);
        assertThat(parts).isEqualTo(straight);
        assertThatThrownBy(() -> second.restore(new float[1])).isInstanceOf(IllegalArgumentException.class);
        for (float value : first.state()) {
            assertThat(Float.isFinite(value)).isTrue();
        }
    }

    @Test
    void bySizeTheFirstIsDrawnInProportionToAPowerOfTheSize() {
        int[] samples = {10, 20, 40, 80};
        for (double temperature : new double[] {1, 2, 5}) {
            double[] weights = Arrays.stream(samples).mapToDouble(n -> Math.pow(n, 1 / temperature)).toArray();
            double sum = Arrays.stream(weights).sum();
            double[] firsts = firsts(new SizeComposition(samples, 2, temperature, 9), 4);
            for (int i = 0; i < 4; i++) {
                assertThat(firsts[i]).isCloseTo(weights[i] / sum, within(NOISE));
            }
        }
    }

    @Test
    void bySizeTheOthersFollowWithoutReplacementAndTheirProbabilitiesAreTold() {
        int[] samples = {10, 20, 40, 80};
        var composition = new SizeComposition(samples, 3, 1, 3);
        var included = new double[4];
        for (int i = 0; i < DRAWS; i++) {
            double left = 150;
            for (var drawn : composition.draw(i)) {
                included[drawn.task()] += 1.0 / DRAWS;
                assertThat(drawn.probability()).isCloseTo(samples[drawn.task()] / left, within(1e-12));
                left -= samples[drawn.task()];
            }
        }
        double[] expected = inclusion(new double[] {10, 20, 40, 80}, 3);
        for (int i = 0; i < 4; i++) {
            assertThat(included[i]).isCloseTo(expected[i], within(NOISE));
        }
    }

    @Test
    void uniformTellsTheProbabilitiesOfDrawingWithoutReplacement() {
        assertThat(Composition.uniform(5, 3, 1).draw(7).stream().map(Composition.Drawn::probability)).containsExactly(1.0 / 5, 1.0 / 4, 1.0 / 3);
    }

    @Test
    void byLossTheTaskThatFallsSlowestIsDrawnMost() {
        var composition = new LossComposition(3, 1, 0.25, 2);
        for (int i = 0; i < 30; i++) {
            composition.observe(new int[] {0, 1, 2}, new double[] {Math.exp(-0.3 * i), 1, Math.exp(-0.05 * i)}, cosines(0, 3));
        }
        float[] means = composition.state();
        var weights = new double[3];
        for (int i = 0; i < 3; i++) {
            weights[i] = Math.exp(means[2 * i] / (double) means[2 * i + 1] / 0.25);
        }
        double sum = Arrays.stream(weights).sum();
        double[] firsts = firsts(composition, 3);
        for (int i = 0; i < 3; i++) {
            assertThat(firsts[i]).isCloseTo(weights[i] / sum, within(NOISE));
        }
        assertThat(firsts[1]).isGreaterThan(firsts[2] + 0.05);
        assertThat(firsts[2]).isGreaterThan(firsts[0] + 0.05);
    }

    /** By hand: the newer mean goes half of the way to a new loss, the older one a tenth; the ratio counts up to 2. */
    @Test
    void byLossTheMeansForgetAsTheyShould() {
        var composition = new LossComposition(2, 1, 1, 2);
        composition.observe(new int[] {0}, new double[] {4}, cosines(0, 1));
        composition.observe(new int[] {0}, new double[] {2}, cosines(0, 1));
        composition.observe(new int[] {0}, new double[] {2}, cosines(0, 1));
        assertThat(composition.state()).containsExactly(2.5f, 3.62f, 0, 0);
        double[] firsts = firsts(composition, 2);
        double measured = Math.exp(2.5 / 3.62);
        assertThat(firsts[0]).isCloseTo(measured / (measured + Math.E), within(NOISE));
        composition.observe(new int[] {1}, new double[] {1}, cosines(0, 1));
        composition.observe(new int[] {1}, new double[] {1000}, cosines(0, 1));
        double capped = Math.exp(2);
        assertThat(firsts(composition, 2)[1]).isCloseTo(capped / (capped + measured), within(NOISE));
    }

    @Test
    void aThirdTaskIsJudgedByTheMeanOfItsCosinesWithTheFirstTwo() {
        var composition = new GradientComposition(4, 3, true, 0.5, 6);
        double[] cosines = {1, 0, 0.6, -0.2, 0, 1, 0.8, -0.4, 0.6, 0.8, 1, 0, -0.2, -0.4, 0, 1};
        for (int i = 0; i < 200; i++) {
            composition.observe(new int[] {0, 1, 2, 3}, new double[4], cosines);
        }
        int pairs = 0;
        int chosen = 0;
        for (int i = 0; i < DRAWS; i++) {
            var drawn = composition.draw(i);
            if (drawn.get(0).task() < 2 && drawn.get(1).task() < 2) {
                pairs++;
                chosen += drawn.get(2).task() == 2 ? 1 : 0;
            }
        }
        double two = Math.exp((0.6 + 0.8) / 2 / 0.5);
        double three = Math.exp((-0.2 - 0.4) / 2 / 0.5);
        assertThat((double) chosen / pairs).isCloseTo(two / (two + three), within(5 * Math.sqrt(0.25 / pairs)));
    }

    @Test
    void aSmallTemperatureLeavesThePreferenceAndDrawsAreStillMade() {
        var composition = new LossComposition(3, 2, 1e-3, 2);
        composition.observe(new int[] {0, 1}, new double[] {1, 1}, cosines(0, 2));
        composition.observe(new int[] {0, 1}, new double[] {0.5, 2}, cosines(0, 2));
        for (int i = 0; i < 100; i++) {
            assertThat(composition.draw(i).stream().map(Composition.Drawn::task)).containsExactly(1, 2);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void byGradientsTasksThatAgreeOrThatDoNotAreDrawnTogether(boolean agree) {
        // 0 and 1 point the same way, as do 2 and 3; the two pairs point against each other.
        var composition = new GradientComposition(4, 2, agree, 0.5, 6);
        double[] cosines = {1, 0.9, -0.8, -0.8, 0.9, 1, -0.8, -0.8, -0.8, -0.8, 1, 0.9, -0.8, -0.8, 0.9, 1};
        for (int i = 0; i < 100; i++) {
            composition.observe(new int[] {0, 1, 2, 3}, new double[4], cosines);
        }
        int together = 0;
        var first = new int[4];
        for (int i = 0; i < DRAWS; i++) {
            var drawn = composition.draw(i);
            first[drawn.get(0).task()]++;
            together += drawn.get(0).task() / 2 == drawn.get(1).task() / 2 ? 1 : 0;
        }
        double sign = agree ? 1 : -1;
        double same = Math.exp(sign * 0.9 / 0.5);
        double other = Math.exp(sign * -0.8 / 0.5);
        assertThat((double) together / DRAWS).isCloseTo(same / (same + 2 * other), within(NOISE));
        for (int count : first) {
            assertThat((double) count / DRAWS).isCloseTo(0.25, within(NOISE));
        }
    }

    @Test
    void whatCannotBeDrawnIsRefused() {
        assertThatThrownBy(() -> Composition.uniform(2, 3, 0)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new SizeComposition(new int[] {1}, 2, 1, 0)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new GradientComposition(GradientComposition.MOST_TASKS + 1, 2, true, 1, 0))
                .isInstanceOf(IllegalArgumentException.class);
    }
}
