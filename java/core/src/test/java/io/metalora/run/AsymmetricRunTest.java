package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Device;
import io.metalora.train.Goldens;
import io.metalora.train.TrainingDivergedException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Runs of method asymmetric-lora. */
class AsymmetricRunTest {

    private static final List<String> TASKS = List.of("add", "copy", "upper");
    private static final String[] SETTINGS = {"method=asymmetric-lora", "joint.epochs=2", "joint.batch_size=4",
            "optimizer.lr=0.01",
        "optimizer.ema=0.9"};

    @TempDir
    private Path folder;

    private Path tasks;

    @BeforeEach
    void tasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
    }

    private TrainingRun.Outcome run(Path output, int passes, String... more) {
        var settings = new ArrayList<>(List.of(SETTINGS));
        settings.addAll(List.of(more));
        int[] asked = {0};
        return TrainingRun.start(RunFixture.config(tasks, output, settings.toArray(String[]::new)), TrainListener.SILENT,
                () -> ++asked[0] > passes);
    }

    private static Path weights(Path run, String task) {
        return run.resolve("adapters").resolve(task).resolve("adapter_model.safetensors");
    }

    @Test
    void eachTaskGetsAFolderWithTheSameAAndABOfItsOwn() {
        Path run = folder.resolve("run");
        run(run, Integer.MAX_VALUE);
        assertThat(run.resolve("adapter")).doesNotExist();
        try (var add = Safetensors.open(weights(run, "add")); var copy = Safetensors.open(weights(run, "copy"))) {
            assertThat(add.names()).isNotEmpty().isEqualTo(copy.names());
            for (String name : add.names()) {
                boolean isA = name.endsWith("lora_A.weight");
                assertThat(name).endsWith(isA ? "lora_A.weight" : "lora_B.weight");
                float[] ofCopy = copy.tensor(name).toFloats();
                assertThat(add.tensor(name).toFloats()).as(name).satisfies(of -> assertThat(Arrays.equals(of,
                        ofCopy)).isEqualTo(isA));
            }
        }
        try (var device = Device.cpu()) {
            for (String task : TASKS) {
                LoraAdapter.load(run.resolve("adapters").resolve(task), ModelConfig.read(Goldens.path("tiny-llama")),
                        device).close();
            }
        }
    }

    @Test
    void aRunThatWasStoppedGoesOnWithTheSameBits() throws IOException {
        Path straight = folder.resolve("straight");
        run(straight, Integer.MAX_VALUE);
        Path stopped = folder.resolve("stopped");
        assertThat(run(stopped, 7).interrupted()).isTrue();
        TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        for (String task : TASKS) {
            assertThat(Files.mismatch(weights(stopped, task), weights(straight, task))).as(task).isEqualTo(-1);
        }
        assertThat(RunFixture.metrics(stopped)).isEqualTo(RunFixture.metrics(straight));
        assertThat(Files.mismatch(stopped.resolve("draws.jsonl"), straight.resolve("draws.jsonl"))).isEqualTo(-1);
    }

    @Test
    void theListenerGetsTheAdaptersThatAreSaved() throws IOException {
        var listener = new TrainListener() {
            @Override
            public void trainedApart(TrainingRun.Outcome outcome, LoadedModel loaded, Map<String, LoraAdapter> adapters) {
                adapters.forEach((task, adapter) -> adapter.save(folder.resolve("seen/adapters").resolve(task), "model"));
            }
        };
        Path run = folder.resolve("run");
        TrainingRun.start(RunFixture.config(tasks, run, SETTINGS), listener, () -> false);
        for (String task : TASKS) {
            assertThat(Files.mismatch(weights(folder.resolve("seen"), task), weights(run, task))).as(task).isEqualTo(-1);
        }
    }

    @Test
    void aRunThatDivergesKeepsTheLastIterationAndSaysHowToGoOn() {
        Path run = folder.resolve("run");
        assertThatThrownBy(() -> run(run, Integer.MAX_VALUE, "optimizer.lr=3e37", "optimizer.beta1=0", "optimizer.ema=0"))
                .isInstanceOf(TrainingDivergedException.class).hasMessageContaining("lower optimizer.lr")
                .hasMessageContaining("The adapters and the checkpoint of iteration 1 are kept in " + run);
        assertThat(weights(run, "upper")).exists();
    }
}
