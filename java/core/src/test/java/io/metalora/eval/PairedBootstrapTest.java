package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class PairedBootstrapTest {

    private static final int SEEDS = 4;
    private static final int TASKS = 6;
    private static final int ITEMS = 50;

    /** Answers that are right with a probability that shifts by seed and task. */
    private static List<List<TaskResult>> arm(double share, double bySeed, double byTask, long seed) {
        var random = new SplittableRandom(seed);
        var arm = new ArrayList<List<TaskResult>>();
        for (int s = 0; s < SEEDS; s++) {
            var tasks = new ArrayList<TaskResult>();
            for (int t = 0; t < TASKS; t++) {
                boolean[] correct = new boolean[ITEMS];
                for (int i = 0; i < ITEMS; i++) {
                    correct[i] = random.nextDouble() < share + (s % 2 == 0 ? bySeed : -bySeed) + (t % 2 == 0 ? byTask : -byTask);
                }
                tasks.add(new TaskResult("task" + t, TaskResult.Method.RANKING, 4, correct));
            }
            arm.add(tasks);
        }
        return arm;
    }

    private static double width(PairedBootstrap of) {
        return of.high() - of.low();
    }

    @Test
    void theIntervalIsThatOfTheNormalApproximationWhereItemsAloneVary() {
        var of = PairedBootstrap.of(arm(0.6, 0, 0, 1), arm(0.4, 0, 0, 2), 3);
        // 24 pairs of 50 items: the standard error of a difference of two independent shares.
        double expected = 100 * Math.sqrt((0.6 * 0.4 + 0.4 * 0.6) / (SEEDS * TASKS * ITEMS));
        assertThat(of.points()).isCloseTo(20, within(4 * expected));
        assertThat(width(of) / (2 * 1.96)).as("at least that, since seeds and tasks are drawn too").isBetween(expected * 0.9, expected * 2.2);
        assertThat(of.verdict(0)).isEqualTo(PairedBootstrap.Verdict.BETTER);
    }

    @Test
    void seedsAndTasksThatDifferMakeItWider() {
        var reference = arm(0.5, 0, 0, 2);
        double items = width(PairedBootstrap.of(arm(0.5, 0, 0, 1), reference, 3));
        assertThat(width(PairedBootstrap.of(arm(0.5, 0.2, 0, 1), reference, 3))).isGreaterThan(1.5 * items);
        assertThat(width(PairedBootstrap.of(arm(0.5, 0, 0.2, 1), reference, 3))).isGreaterThan(1.5 * items);
    }

    @Test
    void itIsPaired() {
        var arm = arm(0.5, 0.2, 0.2, 1);
        var of = PairedBootstrap.of(arm, arm, 3);
        assertThat(of).isEqualTo(new PairedBootstrap(0, 0, 0));
    }

    @Test
    void theSameSeedGivesTheSame() {
        var a = arm(0.6, 0.1, 0.1, 1);
        var b = arm(0.5, 0.1, 0.1, 2);
        assertThat(PairedBootstrap.of(a, b, 3)).isEqualTo(PairedBootstrap.of(a, b, 3));
        var mirrored = PairedBootstrap.of(b, a, 3);
        assertThat(mirrored.points()).isCloseTo(-PairedBootstrap.of(a, b, 3).points(), within(1e-9));
    }

    @Test
    void verdicts() {
        assertThat(new PairedBootstrap(3, 1, 5).verdict(2)).isEqualTo(PairedBootstrap.Verdict.BETTER);
        assertThat(new PairedBootstrap(0, -1, 1).verdict(2)).isEqualTo(PairedBootstrap.Verdict.NOT_INFERIOR);
        assertThat(new PairedBootstrap(-1, -1.5, -0.5).verdict(2)).isEqualTo(PairedBootstrap.Verdict.NOT_INFERIOR);
        assertThat(new PairedBootstrap(-3, -5, -1).verdict(2)).isEqualTo(PairedBootstrap.Verdict.WORSE);
        assertThat(new PairedBootstrap(0, -3, 3).verdict(2)).isEqualTo(PairedBootstrap.Verdict.OPEN);
        assertThat(new PairedBootstrap(0, -1, 1).verdict(0)).isEqualTo(PairedBootstrap.Verdict.OPEN);
    }

    @Test
    void otherTasksAreRefused() {
        var other = List.of(List.of(new TaskResult("another", TaskResult.Method.RANKING, 4, new boolean[ITEMS])));
        var one = List.of(List.of(new TaskResult("task", TaskResult.Method.RANKING, 4, new boolean[ITEMS])));
        assertThatThrownBy(() -> PairedBootstrap.of(one, other, 1)).isInstanceOf(IllegalArgumentException.class);
    }
}
