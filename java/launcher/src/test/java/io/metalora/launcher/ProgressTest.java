package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.metalora.launcher.Progress.Stage;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;

class ProgressTest {

    private final StringWriter err = new StringWriter();
    private long seconds = 1000;

    private Progress progress(Stage... stages) {
        return new Progress(new PrintWriter(err), "train", List.of(stages), () -> seconds * 1_000_000_000L, false);
    }

    @Test
    void theTimeLeftIsThatOfAllStages() {
        try (var progress = progress(new Stage("reading", "", 0, 0), new Stage("training", "iterations", 100, 3000),
                new Stage("evaluating", "items", 50, 1000))) {
            seconds += 7;
            assertThat(progress.line()).isEqualTo("train: stage 1 of 3, reading, since 0:07");
            assertThat(progress.secondsLeft()).as("nothing to tell it from yet").isEmpty();
            progress.begin(1, 0);
            seconds += 30;
            progress.step(25);
            // 90 s for the rest of the training; its 750 of work took 30 s, and the 7 s of reading count as well.
            assertThat(progress.secondsLeft().getAsDouble()).isCloseTo(90 + 37 * 1000 / 750.0, within(1e-9));
            assertThat(progress.line()).isEqualTo("train: stage 2 of 3, training, 25 of 100 iterations (25%), 1:30 left, 2:19 in all");
            seconds += 90;
            progress.step(75);
            progress.begin(2, 0);
            assertThat(progress.secondsLeft().getAsDouble()).as("from the pace so far").isCloseTo(127 / 3.0, within(1e-9));
            seconds += 10;
            progress.tokens(500);
            progress.note("task x");
            progress.step(10.5);
            assertThat(progress.line()).isEqualTo("train: stage 3 of 3, evaluating, 10 of 50 items (21%), 0:38 left, task x, 50 tok/s");
        }
    }

    @Test
    void whatWasDoneBeforeIsNoMeasureOfThePace() {
        try (var progress = progress(new Stage("training", "iterations", 100, 1000), new Stage("evaluating", "items", 10, 100))) {
            progress.begin(0, 90);
            seconds += 10;
            progress.step(5);
            assertThat(progress.line()).isEqualTo("train: stage 1 of 2, training, 95 of 100 iterations (95%), 0:10 left, 0:30 in all");
        }
    }

    @Test
    void aSingleStageIsCountedAsItIs() {
        try (var progress = progress(new Stage("score", "tokens", 400, 400))) {
            seconds += 10;
            progress.step(100);
            assertThat(progress.line()).isEqualTo("train: 100 of 400 tokens (25%), 0:30 left");
        }
    }

    @Test
    void moreThanExpectedIsNotMoreThanAll() {
        try (var progress = progress(new Stage("score", "tokens", 10, 10))) {
            seconds += 10;
            progress.step(12);
            assertThat(progress.line()).contains("(100%), 0:00 left");
        }
    }

    /** Without a step for minutes there still is a sign of life. */
    @Test
    void aSignOfLifeComesByItself() throws InterruptedException {
        try (var progress = progress(new Stage("loading", "", 0, 0))) {
            long end = System.nanoTime() + 3 * Progress.PLAIN_INTERVAL.toNanos();
            while (err.toString().isEmpty() && System.nanoTime() < end) {
                Thread.sleep(100);
            }
            assertThat(err.toString()).startsWith("train: loading, since ");
        }
    }
}
