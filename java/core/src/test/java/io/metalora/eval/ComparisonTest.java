package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.eval.Comparison.Arm;
import io.metalora.eval.Comparison.Difference;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class ComparisonTest {

    private static TaskResult result(String task, boolean... correct) {
        return new TaskResult(task, TaskResult.Method.RANKING, 2, correct);
    }

    private static boolean[] random(int count, double share, long seed) {
        var random = new SplittableRandom(seed);
        boolean[] values = new boolean[count];
        for (int i = 0; i < count; i++) {
            values[i] = random.nextDouble() < share;
        }
        return values;
    }

    @Test
    void theMeanWeighsTasksEquallyWhateverTheirSize() {
        var arm = new Arm("a", List.of(result("small", true, false), result("large", true, true, true, true)));
        assertThat(arm.mean()).isEqualTo(0.75);
        var comparison = new Comparison(List.of(arm));
        assertThat(comparison.headings()).containsExactly("task", "a");
        assertThat(comparison.rows()).containsExactly(List.of("small", "50.0"), List.of("large", "100.0"));
        assertThat(comparison.meanRow()).containsExactly("mean", "75.0");
    }

    @Test
    void anArmDoesNotDifferFromItself() {
        var arm = new Arm("a", List.of(result("t", random(100, 0.5, 1))));
        Difference difference = new Comparison(List.of(arm, arm)).difference(0, 1, 7);
        assertThat(difference).isEqualTo(new Difference(0, 0, 0));
        assertThat(difference.clear()).isFalse();
    }

    @Test
    void theIntervalIsThatOfThePairedDifference() {
        // 400 items, the second arm wrong on 40 of those that the first has right: -10 points, standard error about 1.5.
        boolean[] first = random(400, 0.8, 2);
        boolean[] second = first.clone();
        int flipped = 0;
        for (int i = 0; i < second.length && flipped < 40; i++) {
            if (second[i]) {
                second[i] = false;
                flipped++;
            }
        }
        var comparison = new Comparison(List.of(new Arm("a", List.of(result("t", first))), new Arm("b", List.of(result("t", second)))));
        Difference difference = comparison.difference(1, 0, 3);
        assertThat(difference.points()).isCloseTo(-10, within(1e-9));
        double error = 100 * Math.sqrt(0.1 * 0.9 / 400);
        assertThat(difference.low()).isCloseTo(-10 - 1.96 * error, within(0.5));
        assertThat(difference.high()).isCloseTo(-10 + 1.96 * error, within(0.5));
        assertThat(difference.clear()).isTrue();
        assertThat(comparison.difference(1, 0, 3)).isEqualTo(difference);
    }

    @Test
    void armsOnOtherExamplesCannotBeCompared() {
        var arm = new Arm("a", List.of(result("t", true, false)));
        assertThatThrownBy(() -> new Comparison(List.of(arm, new Arm("b", List.of(result("t", true))))))
                .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("arm b");
        assertThatThrownBy(() -> new Comparison(List.of(arm, new Arm("b", List.of(result("u", true, false))))))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void anEvaluationThatWasStoppedShowsWhatThereIs() {
        var base = new Arm("base", List.of(result("a", true), result("b", false), result("c", false)));
        var shared = new Arm("shared", List.of(result("a", true), result("c", true)));
        var comparison = new Comparison(List.of("a", "b", "c"), List.of(base, shared, new Arm("adapted", List.of())));
        assertThat(comparison.complete()).isFalse();
        assertThat(comparison.rows()).containsExactly(List.of("a", "100.0", "100.0", "-"), List.of("b", "0.0", "-", "-"),
                List.of("c", "0.0", "100.0", "-"));
        assertThat(comparison.meanRow()).as("of the tasks that both have").containsExactly("mean of 2", "50.0", "100.0", "-");
    }

    @Test
    void nothingEvaluatedYetIsATableToo() {
        var comparison = new Comparison(List.of("a"), List.of(new Arm("base", List.of()), new Arm("shared", List.of())));
        assertThat(comparison.rows()).containsExactly(List.of("a", "-", "-"));
        assertThat(comparison.meanRow()).containsExactly("mean of 1", "-", "-");
    }
}
