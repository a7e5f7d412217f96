package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.InputException;
import io.metalora.train.TrainerState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Whole runs with an average, learned inner rates, and stage 1 on B alone. */
class StageOneRunTest {

    private static final String[] SETTINGS = {"optimizer.ema=0.8", "meta.inner_rate_lr=0.05", "meta.adapts=b"};

    @TempDir
    private Path folder;

    private Path tasks;

    @BeforeEach
    void tasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
    }

    @Test
    void aRunThatWasStoppedGoesOnWithTheSameBits() throws IOException {
        Path straight = folder.resolve("straight");
        var outcome = TrainingRun.start(RunFixture.config(tasks, straight, SETTINGS), TrainListener.SILENT, () -> false);
        int[] passes = {0};
        Path stopped = folder.resolve("stopped");
        assertThat(TrainingRun.start(RunFixture.config(tasks, stopped, SETTINGS), TrainListener.SILENT, () -> ++passes[0] > 17)
                .done()).isBetween(1L, 7L);
        var resumed = TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        assertThat(RunFixture.adapter(stopped)).isEqualTo(RunFixture.adapter(straight));
        assertThat(RunFixture.metrics(stopped)).isEqualTo(RunFixture.metrics(straight));
        assertThat(resumed.innerRates()).isEqualTo(outcome.innerRates()).isNotEmpty().allSatisfy(rate ->
                assertThat(Double.parseDouble(rate.replaceFirst("^model\\.layers\\..*=", ""))).isBetween(0.013, 0.03)
                        .isNotEqualTo(0.02));
        assertThat(RunFixture.metrics(straight).getLast().get("inner_rates").size()).isEqualTo(outcome.innerRates().size());

        // As it is finished, it gives the same again.
        assertThat(TrainingRun.resume(stopped, TrainListener.SILENT, () -> false).innerRates()).isEqualTo(outcome.innerRates());
        assertThat(RunFixture.adapter(stopped)).isEqualTo(RunFixture.adapter(straight));
    }

    @Test
    void whatIsSavedIsTheAverage() throws IOException {
        Path last = folder.resolve("last");
        TrainingRun.start(RunFixture.config(tasks, last), TrainListener.SILENT, () -> false);
        Path averaged = folder.resolve("averaged");
        TrainingRun.start(RunFixture.config(tasks, averaged, "optimizer.ema=0.8"), TrainListener.SILENT, () -> false);
        TrainerState state = Checkpoint.read(Checkpoint.list(averaged.resolve("checkpoints")).getFirst()).state();
        assertThat(state.parameters()).isEqualTo(Checkpoint.read(Checkpoint.list(last.resolve("checkpoints")).getFirst()).state()
                .parameters());
        try (var weights = Safetensors.open(averaged.resolve("adapter/adapter_model.safetensors"))) {
            // The vector begins with the first A.
            float[] saved = weights.tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight").toFloats();
            assertThat(state.average()).startsWith(saved);
            assertThat(state.parameters()).doesNotContain(saved[0]);
        }
    }

    @Test
    void aModuleThatIsNotAdaptedIsRefusedAndNothingIsWritten() {
        Path output = folder.resolve("run");
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, output, "meta.inner_rates=[qproj=0.1]"),
                TrainListener.SILENT, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("meta.inner_rates names \"qproj\"");
        assertThat(Files.exists(output)).isFalse();
    }
}
