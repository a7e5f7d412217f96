package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.LoadedModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a listener is shown of an adapter while it is trained. */
class TrainedSoFarTest {

    @TempDir
    private Path folder;

    /** Notes what it is shown; stops the run at an iteration the first time. */
    private static final class Seen implements TrainListener {

        private final List<Long> iterations = new ArrayList<>();
        private final List<float[]> adapters = new ArrayList<>();
        private long stopAt;

        Seen(long stopAt) {
            this.stopAt = stopAt;
        }

        @Override
        public void trainedSoFar(long iteration, long total, LoadedModel loaded, LoraAdapter adapter) {
            assertThat(total).isEqualTo(8);
            if (iteration == stopAt) {
                stopAt = 0;
                throw new CancellationException("stopped on request");
            }
            iterations.add(iteration);
            adapters.add(adapter.parameters().toFloats());
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"method=meta-lora", "method=joint-lora"})
    void comesAfterEveryIterationAndAgainWhereItWasCutShort(String method) throws IOException {
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        String[] settings = {method, "joint.epochs=2", "joint.batch_size=8"}; // 30 samples: 4 steps an epoch
        var whole = new Seen(0);
        TrainingRun.start(RunFixture.config(tasks, folder.resolve("whole"), settings), whole, () -> false);
        assertThat(whole.iterations).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L);
        assertThat(whole.adapters.get(1)).isNotEqualTo(whole.adapters.get(0));

        var stopped = new Seen(4);
        Path run = folder.resolve("stopped");
        var outcome = TrainingRun.start(RunFixture.config(tasks, run, settings), stopped, () -> false);
        assertThat(outcome.interrupted()).isTrue();
        assertThat(outcome.done()).isEqualTo(4);
        TrainingRun.resume(run, stopped, () -> false);
        assertThat(stopped.iterations).isEqualTo(whole.iterations);
        for (int i = 0; i < 8; i++) {
            assertThat(stopped.adapters.get(i)).as("after iteration %d", i + 1).isEqualTo(whole.adapters.get(i));
        }
        assertThat(RunFixture.adapter(run)).isEqualTo(RunFixture.adapter(folder.resolve("whole")));
        assertThat(RunFixture.metrics(run)).isEqualTo(RunFixture.metrics(folder.resolve("whole")));
    }

    @Test
    void aResumedRunThatIsStoppedAtOnceChangesNothing() throws IOException {
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        Path run = folder.resolve("run");
        TrainingRun.start(RunFixture.config(tasks, run), new Seen(4), () -> false);
        var outcome = TrainingRun.resume(run, new Seen(4), () -> false);
        assertThat(outcome.interrupted()).isTrue();
        assertThat(outcome.done()).isEqualTo(4);
        assertThat(RunFixture.metrics(run)).hasSize(4);
    }
}
