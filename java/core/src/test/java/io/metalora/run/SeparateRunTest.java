package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Runs of method separate-lora. */
class SeparateRunTest {

    private static final List<String> TASKS = List.of("add", "copy", "upper");
    private static final String[] SETTINGS = {"method=separate-lora", "joint.epochs=3", "joint.batch_size=4", "adapter.dropout=0",
        "optimizer.lr=0.01"};

    @TempDir
    private Path folder;

    private Path tasks;

    @BeforeEach
    void tasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
        Path add = tasks.resolve("add/train.jsonl");
        Files.write(add, Files.readAllLines(add).subList(0, 5)); // of unequal sizes
    }

    private Path run(String name, String... more) {
        var settings = new ArrayList<>(List.of(SETTINGS));
        settings.addAll(List.of(more));
        Path output = folder.resolve(name);
        TrainingRun.start(RunFixture.config(tasks, output, settings.toArray(String[]::new)), TrainListener.SILENT, () -> false);
        return output;
    }

    private static float[] values(Path adapter, String tensor) {
        try (var weights = Safetensors.open(adapter.resolve("adapter_model.safetensors"))) {
            return weights.tensor(tensor).toFloats();
        }
    }

    /** Every value by itself, and all together relative to their norm. */
    private static void requireAlike(Path adapter, Path other) {
        try (var weights = Safetensors.open(adapter.resolve("adapter_model.safetensors"))) {
            double difference = 0;
            double norm = 0;
            for (String name : weights.names()) {
                float[] actual = values(adapter, name);
                float[] expected = values(other, name);
                for (int i = 0; i < actual.length; i++) {
                    assertThat(actual[i]).as("%s, %d", name, i).isCloseTo(expected[i], within(1e-6f));
                    difference += Math.pow(actual[i] - expected[i], 2);
                    norm += Math.pow(expected[i], 2);
                }
            }
            assertThat(Math.sqrt(difference)).isLessThanOrEqualTo(1e-6 * Math.sqrt(norm));
        }
    }

    @Test
    void eachTaskGetsTheAdapterOfARunOnItAlone() throws IOException {
        Path all = run("all");
        assertThat(all.resolve("adapter")).doesNotExist();
        for (String task : TASKS) {
            requireAlike(all.resolve("adapters").resolve(task), run("alone-" + task, "data.names=[" + task + "]").resolve("adapters").resolve(task));
        }
        assertThat(Files.mismatch(all.resolve("adapters/add/adapter_model.safetensors"), all.resolve("adapters/copy/adapter_model.safetensors")))
                .isNotEqualTo(-1);
        // The longest tasks have 10 samples: 3 steps in each of 3 epochs.
        assertThat(RunFixture.metrics(all)).hasSize(9);
    }

    @Test
    void aRunThatWasStoppedGoesOnWithTheSameBits() throws IOException {
        Path straight = run("straight");
        int[] passes = {0};
        Path stopped = folder.resolve("stopped");
        var outcome = TrainingRun.start(RunFixture.config(tasks, stopped, SETTINGS), TrainListener.SILENT, () -> ++passes[0] > 5);
        assertThat(outcome.interrupted()).isTrue();
        TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        for (String task : TASKS) {
            String file = "adapters/" + task + "/adapter_model.safetensors";
            assertThat(Files.mismatch(stopped.resolve(file), straight.resolve(file))).as(task).isEqualTo(-1);
        }
        assertThat(RunFixture.metrics(stopped)).isEqualTo(RunFixture.metrics(straight));
        assertThat(Files.mismatch(stopped.resolve("draws.jsonl"), straight.resolve("draws.jsonl"))).isEqualTo(-1);
    }

    @Test
    void theListenerGetsTheAdaptersThatAreSaved() throws IOException {
        var seen = new ArrayList<String>();
        var listener = new TrainListener() {
            @Override
            public void trainedApart(TrainingRun.Outcome outcome, LoadedModel loaded, Map<String, LoraAdapter> adapters) {
                adapters.forEach((task, adapter) -> {
                    seen.add(task);
                    adapter.save(folder.resolve("seen").resolve(task), "model");
                });
            }
        };
        Path run = folder.resolve("run");
        TrainingRun.start(RunFixture.config(tasks, run, SETTINGS), listener, () -> false);
        assertThat(seen).containsExactlyElementsOf(TASKS);
        for (String task : TASKS) {
            assertThat(Files.mismatch(folder.resolve("seen").resolve(task).resolve("adapter_model.safetensors"),
                    run.resolve("adapters").resolve(task).resolve("adapter_model.safetensors"))).isEqualTo(-1);
        }
    }

    @Test
    void whatDivergesIsToldAndNotSaved() throws IOException {
        Path output = folder.resolve("diverged");
        var outcome = TrainingRun.start(RunFixture.config(tasks, output, "method=separate-lora", "optimizer.lr=3e37", "optimizer.beta1=0"),
                TrainListener.SILENT, () -> false);
        assertThat(outcome.diverged()).containsOnlyKeys(TASKS);
        assertThat(outcome.diverged().get("add")).startsWith("step 2: ");
        assertThat(outcome.done()).as("nothing is left to train").isEqualTo(2);
        assertThat(output.resolve("adapters")).doesNotExist();
        assertThat(RunFixture.metrics(output)).satisfiesExactly(line -> assertThat(line.get("loss").asDouble()).isPositive(),
                line -> assertThat(line.has("loss")).isFalse());
        var again = TrainingRun.resume(output, TrainListener.SILENT, () -> false);
        assertThat(again.diverged()).containsOnlyKeys(TASKS);
    }

    /** One task takes a single step, which it survives; the others diverge in their second, before or after the run was stopped. */
    @Test
    void whatDivergesAfterAStopLeavesNoAdapterEither() throws IOException {
        Path one = tasks.resolve("add/train.jsonl");
        Files.write(one, Files.readAllLines(one).subList(0, 2));
        String[] settings = {"method=separate-lora", "joint.epochs=1", "joint.batch_size=2", "adapter.dropout=0", "optimizer.lr=1e15",
            "optimizer.schedule=constant", "optimizer.clip=0", "compute.token_budget=0"};
        Path straight = folder.resolve("straight");
        var whole = TrainingRun.start(RunFixture.config(tasks, straight, settings), TrainListener.SILENT, () -> false);
        assertThat(whole.diverged()).containsOnlyKeys("copy", "upper");
        Path stopped = folder.resolve("stopped");
        int[] passes = {0};
        TrainingRun.start(RunFixture.config(tasks, stopped, settings), TrainListener.SILENT, () -> ++passes[0] > 1);
        assertThat(stopped.resolve("adapters/copy")).as("it was trained so far").exists();
        var resumed = TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        assertThat(resumed.diverged()).containsOnlyKeys("copy", "upper");
        for (Path run : List.of(straight, stopped)) {
            assertThat(run.resolve("adapters/add/adapter_model.safetensors")).exists();
            assertThat(run.resolve("adapters/copy")).doesNotExist();
        }
        assertThat(Files.mismatch(straight.resolve("adapters/add/adapter_model.safetensors"),
                stopped.resolve("adapters/add/adapter_model.safetensors"))).isEqualTo(-1);
    }

    @Test
    void whatIsInTheWayOfAnAdapterIsSaidBeforeARunGoesOn() throws IOException {
        int[] passes = {0};
        Path stopped = folder.resolve("stopped");
        TrainingRun.start(RunFixture.config(tasks, stopped, SETTINGS), TrainListener.SILENT, () -> ++passes[0] > 5);
        Path mine = stopped.resolve("adapters/copy");
        for (String file : List.of("adapter_config.json", "adapter_model.safetensors")) {
            Files.delete(mine.resolve(file));
        }
        Files.writeString(mine.resolve("mine.txt"), "mine");
        assertThatThrownBy(() -> TrainingRun.resume(stopped, TrainListener.SILENT, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("adapters/copy").hasMessageContaining("mine.txt");
    }
}
