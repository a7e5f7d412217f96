package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.file.AtomicFile;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.task.TaskFolder;
import io.metalora.train.IterationReport;
import io.metalora.train.TinyLlama;
import io.metalora.train.TrainerState;
import io.metalora.train.TrainingDivergedException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TrainingRunTest {

    @TempDir
    Path folder;
    private Path tasks;

    private final List<String> warnings = new ArrayList<>();
    private final List<IterationReport> reports = new ArrayList<>();
    private final TrainListener listener = new TrainListener() {
        @Override
        public void iteration(IterationReport report, long total) {
            reports.add(report);
        }

        @Override
        public void warning(String message) {
            warnings.add(message);
        }
    };

    @BeforeEach
    void writeTasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
    }

    private TrainingRun.Outcome start(String output, String... overrides) {
        return TrainingRun.start(RunFixture.config(tasks, folder.resolve(output), overrides), listener, () -> false);
    }

    @ParameterizedTest
    @ValueSource(strings = {"meta-lora", "joint-lora"})
    void leavesAWholeRunFolderAndRepeatsBitForBit(String method) throws IOException {
        TrainingRun.Outcome outcome = start("one", "method=" + method);
        start("two", "method=" + method);

        Path run = outcome.folder().path();
        assertThat(outcome.interrupted()).isFalse();
        assertThat(outcome.done()).isEqualTo(outcome.total());
        assertThat(RunFixture.metrics(run)).hasSize((int) outcome.total()).isEqualTo(RunFixture.metrics(folder.resolve("two")));
        assertThat(reports).hasSize((int) (2 * outcome.total()));
        // Three lines for the three tasks' samples, then one an iteration.
        assertThat(Files.readAllLines(outcome.folder().draws())).hasSize((int) outcome.total() + 3);
        assertThat(Files.readString(outcome.folder().draws())).isEqualTo(Files.readString(folder.resolve("two/draws.jsonl")));
        assertThat(outcome.folder().config().output()).isEqualTo(run);
        assertThat(Checkpoint.list(run.resolve("checkpoints"))).hasSize(2);
        assertThat(RunFixture.adapter(run)).isEqualTo(RunFixture.adapter(folder.resolve("two")));
    }

    @Test
    void handsOnTheAdapterThatItSaved() {
        var handedOn = new ArrayList<float[]>();
        var saved = new ArrayList<float[]>();
        var keeping = new TrainListener() {
            @Override
            public void trained(TrainingRun.Outcome outcome, LoadedModel loaded, LoraAdapter adapter) {
                handedOn.add(adapter.parameters().toFloats());
                try (var read = loaded.loadAdapter(outcome.folder().adapter())) {
                    assertThat(adapter.layout()).isEqualTo(read.layout());
                    assertThat(adapter.layout().config().scale()).isEqualTo(read.layout().config().scale());
                    assertThat(adapter.layout().config().dropout()).isEqualTo(read.layout().config().dropout());
                    saved.add(read.parameters().toFloats());
                }
            }
        };
        TrainConfig config = RunFixture.config(tasks, folder.resolve("run"));
        int[] passes = {0};
        assertThat(TrainingRun.start(config, keeping, () -> ++passes[0] >= 20).interrupted()).isTrue();
        TrainingRun.resume(folder.resolve("run"), keeping, () -> false);
        TrainingRun.resume(folder.resolve("run"), keeping, () -> false); // of which nothing is left to train

        assertThat(handedOn).hasSize(3);
        for (int i = 0; i < saved.size(); i++) {
            assertThat(handedOn.get(i)).isEqualTo(saved.get(i));
        }
        assertThat(handedOn.get(2)).isEqualTo(handedOn.get(1)).isNotEqualTo(handedOn.get(0));
    }

    /** A loaded model serves one run after another, each with the bits of a run that loads its own. */
    @Test
    void runsShareALoadedModel() throws IOException {
        start("own");
        try (var loaded = LoadedModel.open(RunFixture.config(tasks, folder).model(), new DeviceOptions(Backend.CPU, 2))) {
            for (String output : List.of("first", "second")) {
                TrainingRun.start(RunFixture.config(tasks, folder.resolve(output)), loaded, TaskFolder.read(tasks), listener, () -> false);
                assertThat(RunFixture.adapter(folder.resolve(output))).isEqualTo(RunFixture.adapter(folder.resolve("own")));
            }
        }
    }

    @Test
    void metricsSayWhatWasMeasured() throws IOException {
        start("one");

        var first = RunFixture.metrics(folder.resolve("one")).getFirst();
        assertThat(first.get("iteration").intValue()).isEqualTo(1);
        assertThat(first.get("tasks")).hasSize(2);
        assertThat(first.get("tasks").get(0).get("support_loss")).hasSize(2);
        assertThat(first.get("tasks").get(0).get("adapted_loss").doubleValue()).isPositive();
        assertThat(first.get("gradient_cosines")).hasSize(2);
        assertThat(first.get("support_loss_before").doubleValue()).isPositive();
        assertThat(first.get("tokens").intValue()).isPositive();
        assertThat(RunFixture.metrics(folder.resolve("one")).get(1).has("support_loss_after")).isFalse();
    }

    @Test
    void stopsOnRequestAndGoesOnBitForBit() throws IOException {
        start("straight");
        int[] passes = {0};
        TrainConfig config = RunFixture.config(tasks, folder.resolve("stopped"));
        var outcome = TrainingRun.start(config, listener, () -> ++passes[0] >= 20);

        assertThat(outcome.interrupted()).isTrue();
        assertThat(outcome.done()).isBetween(1L, 7L);
        assertThat(Files.exists(outcome.folder().adapter())).isTrue();
        assertThat(RunFixture.metrics(folder.resolve("stopped"))).hasSize((int) outcome.done());

        var resumed = TrainingRun.resume(folder.resolve("stopped"), listener, () -> false);
        assertThat(resumed.interrupted()).isFalse();
        requireSame("stopped");
    }

    @Test
    void resumingAFinishedRunChangesNothing() throws IOException {
        start("straight");
        byte[] before = RunFixture.adapter(folder.resolve("straight"));
        var outcome = TrainingRun.resume(folder.resolve("straight"), listener, () -> false);

        assertThat(outcome.done()).isEqualTo(8);
        assertThat(RunFixture.adapter(folder.resolve("straight"))).isEqualTo(before);
        assertThat(RunFixture.metrics(folder.resolve("straight"))).hasSize(8);
    }

    @Test
    void passesOverADamagedCheckpoint() throws IOException {
        start("straight");
        start("damaged");
        List<Path> checkpoints = Checkpoint.list(folder.resolve("damaged/checkpoints"));
        assertThat(checkpoints).hasSize(2);
        try (var file = new RandomAccessFile(checkpoints.getFirst().toFile(), "rw")) {
            file.seek(file.length() - 100);
            int b = file.read();
            file.seek(file.length() - 100);
            file.write(b ^ 1);
        }

        TrainingRun.resume(folder.resolve("damaged"), listener, () -> false);
        assertThat(warnings).hasSize(1).allSatisfy(w -> assertThat(w).contains("checkpoint-0000000008", "checksum"));
        requireSame("damaged");

        try (var file = new RandomAccessFile(checkpoints.getFirst().toFile(), "rw")) {
            file.setLength(50);
        }
        TrainingRun.resume(folder.resolve("damaged"), listener, () -> false);
        assertThat(warnings).hasSize(2).last().asString().contains("checkpoint-0000000008");
        requireSame("damaged");
    }

    /** As a kill before the first checkpoint leaves it. */
    @Test
    void beginsAgainWhereNothingWasSavedYet() throws IOException {
        start("straight");
        start("bare");
        for (Path checkpoint : Checkpoint.list(folder.resolve("bare/checkpoints"))) {
            Files.delete(checkpoint);
        }
        AtomicFile.delete(folder.resolve("bare/adapter")); // which a run saves after a checkpoint
        List<String> logged = Files.readAllLines(folder.resolve("bare/metrics.jsonl"));
        Files.writeString(folder.resolve("bare/metrics.jsonl"), String.join("\n", logged.subList(0, 2)) + "\n{\"half a li");
        Files.writeString(folder.resolve("bare/checkpoints/.checkpoint.safetensors.tmp-1"), "left by a kill");
        Path adapter = Files.createDirectory(folder.resolve("bare/.adapter.tmp-1"));
        Files.writeString(adapter.resolve("adapter_model.safetensors"), "left by a kill while the adapter was saved");

        TrainingRun.resume(folder.resolve("bare"), listener, () -> false);
        requireSame("bare");
        assertThat(folder.resolve("bare/checkpoints/.checkpoint.safetensors.tmp-1")).doesNotExist();
        assertThat(adapter).doesNotExist();
    }

    @Test
    void doesNotBeginAgainOverCheckpointsThatCannotBeUsed() throws IOException {
        start("lost");
        for (Path checkpoint : Checkpoint.list(folder.resolve("lost/checkpoints"))) {
            Files.writeString(checkpoint, "no checkpoint");
        }
        var metrics = RunFixture.metrics(folder.resolve("lost"));

        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("lost"), listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("none of the 2 checkpoints can be used");
        assertThat(RunFixture.metrics(folder.resolve("lost"))).isEqualTo(metrics);
    }

    @Test
    void resumesOnlyWithTheExamplesItBeganWith() throws IOException {
        start("run");
        Path file;
        try (var found = Files.walk(folder)) {
            file = found.filter(path -> path.endsWith("train.jsonl")).sorted().findFirst().orElseThrow();
        }
        Files.writeString(file, Files.readString(file).replaceFirst("\"completion\":", "\"completion\": \" x\", \"was\":"));

        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("run"), listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("are not those that the run began with");
    }

    private void requireSame(String run) throws IOException {
        assertThat(RunFixture.adapter(folder.resolve(run))).isEqualTo(RunFixture.adapter(folder.resolve("straight")));
        assertThat(RunFixture.metrics(folder.resolve(run))).isEqualTo(RunFixture.metrics(folder.resolve("straight")));
        assertThat(Files.readString(folder.resolve(run + "/draws.jsonl")))
                .isEqualTo(Files.readString(folder.resolve("straight/draws.jsonl")));
    }

    @Test
    void goesOnFromAnotherRunsAdapter() throws IOException {
        start("one");
        start("two", "adapter.init=" + folder.resolve("one/adapter"), "adapter.rank=7");

        try (var llama = new TinyLlama(); LoraAdapter adapter = llama.adapter(folder.resolve("two/adapter"))) {
            assertThat(adapter.layout().config().rank()).isEqualTo(2);
        }
        assertThat(RunFixture.metrics(folder.resolve("two")).getFirst()).isNotEqualTo(RunFixture.metrics(folder.resolve("one")).getFirst());
    }

    @Test
    void resumesOnlyWithTheSettingsItBeganWith() {
        start("one");
        TrainConfig same = RunFixture.config(tasks, folder.resolve("elsewhere"), "compute.checkpoint_every=1");
        assertThat(TrainingRun.resume(folder.resolve("one"), same, false, listener, () -> false).done()).isEqualTo(8);

        TrainConfig other = same.with("meta.inner_steps=1");
        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("one"), other, false, listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("meta.inner_steps was 2, is 1");
        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("none"), listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("holds no run to resume");
    }

    @Test
    void refusesAFolderThatHoldsSomething() throws IOException {
        start("one");
        byte[] before = RunFixture.adapter(folder.resolve("one"));
        assertThatThrownBy(() -> start("one")).isInstanceOf(InputException.class)
                .hasMessageContaining("already holds a run").hasMessageContaining("--resume");
        assertThat(RunFixture.adapter(folder.resolve("one"))).isEqualTo(before);

        Files.createDirectories(folder.resolve("mine"));
        Files.writeString(folder.resolve("mine/notes.txt"), "mine");
        assertThatThrownBy(() -> start("mine")).isInstanceOf(InputException.class).hasMessageContaining("is not empty");
        assertThatThrownBy(() -> start("mine/notes.txt")).isInstanceOf(InputException.class).hasMessageContaining("is a file");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            meta.query_size=9                 | task add has 10 samples, fewer than the 2 of support and the 9 of query together
            data.samples_per_task=3           | task add has 3 samples, fewer than
            meta.tasks_per_iteration=4096     | meta.tasks_per_iteration is 4096, but there are only 3 tasks
            meta.tasks_per_iteration=4        | meta.tasks_per_iteration is 4, but there are only 3 tasks
            compute.token_budget=10           | more tokens than compute.token_budget of 10 (which can be raised up to
            data.names=[sub]                  | holds no task named "sub"; it has add, copy, upper
            data.folder=nowhere               | nowhere: no such folder
            model=nowhere                     | nowhere
            adapter.target_modules=[c_attn]   | c_attn
            adapter.init=nowhere              | nowhere
            meta.support_size=2147483647      | task add has 10 samples, fewer than the 2147483647 of support and the 2 of query together
            meta.query_size=2147483647        | task add has 10 samples, fewer than the 2 of support and the 2147483647 of query together
            meta.tasks_per_iteration=4096     | meta.tasks_per_iteration is 4096, but there are only 3 tasks
            """)
    void badInputIsNamedAndNothingIsWritten(String override, String message) {
        assertThatThrownBy(() -> start("bad", override)).isInstanceOf(InputException.class).hasMessageContaining(message);
        assertThat(folder.resolve("bad")).doesNotExist();
    }

    @ParameterizedTest
    @ValueSource(strings = {"meta-lora", "joint-lora"})
    void aRunThatDivergesKeepsItsLastGoodStateAndSaysHowToGoOn(String method) throws IOException {
        // The first rate of a warm-up is 0, the second half of lr.
        String[] diverging = {"method=" + method, "optimizer.lr=3e37", "optimizer.weight_decay=1e10", "optimizer.warmup_steps=2"};
        assertThatThrownBy(() -> start("run", diverging)).isInstanceOf(TrainingDivergedException.class)
                .hasMessageContaining("lower optimizer.lr").hasMessageContaining("of iteration 1 are kept in " + folder.resolve("run"))
                .hasMessageContaining("adapter.init=" + folder.resolve("run/adapter"));
        List<Path> checkpoints = Checkpoint.list(folder.resolve("run/checkpoints"));
        assertThat(checkpoints).hasSize(1);
        TrainerState kept = Checkpoint.read(checkpoints.getFirst()).state();
        assertThat(kept.step()).isEqualTo(1);
        assertThat(kept.notFinite()).isEmpty();
        try (var llama = new TinyLlama(); LoraAdapter adapter = llama.adapter(folder.resolve("run/adapter"))) {
            assertThat(adapter.parameters().toFloats()).isEqualTo(kept.parameters());
        }
        assertThat(RunFixture.metrics(folder.resolve("run"))).hasSize(1);

        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("run"), listener, () -> false))
                .isInstanceOf(TrainingDivergedException.class).hasMessageContaining("of iteration 1 are kept");
        assertThat(RunFixture.metrics(folder.resolve("run"))).hasSize(1);
        assertThat(start("next", "method=" + method, "adapter.init=" + folder.resolve("run/adapter")).interrupted()).isFalse();
    }

    @Test
    void theLastStepIsCheckedToo() {
        assertThatThrownBy(() -> start("run", "optimizer.lr=3e37", "optimizer.weight_decay=1e10", "meta.iterations=1")).isInstanceOf(TrainingDivergedException.class)
                .hasMessageContaining("lower optimizer.lr").hasMessageContaining("No iteration was done; start again with another output");
        assertThat(folder.resolve("run/adapter")).doesNotExist();
        assertThat(Checkpoint.list(folder.resolve("run/checkpoints"))).isEmpty();
    }

    @Test
    void passesOverACheckpointThatIsNotFinite() throws IOException {
        start("straight");
        start("spoilt");
        Path newest = Checkpoint.list(folder.resolve("spoilt/checkpoints")).getFirst();
        Checkpoint good = Checkpoint.read(newest);
        float[] v = good.state().v().clone();
        v[3] = Float.NaN;
        new Checkpoint(new TrainerState(good.state().step(), good.state().parameters(), good.state().m(), v, good.state().composition()), good.metricsBytes(),
                good.drawsBytes()).write(newest.getParent());

        TrainingRun.resume(folder.resolve("spoilt"), listener, () -> false);
        assertThat(warnings).hasSize(1).allSatisfy(w -> assertThat(w).contains("v 3 is NaN"));
        requireSame("spoilt");
    }

    @Test
    void anExampleLongerThanTheContextIsNamedByFileAndLine() throws IOException {
        Path file = tasks.resolve("add/train.jsonl");
        Files.writeString(file, Files.readString(file) + "{\"prompt\": \"" + "long ".repeat(60) + "\", \"completion\": \" x\"}\n");

        assertThatThrownBy(() -> start("bad", "compute.token_budget=0")).isInstanceOf(InputException.class)
                .hasMessageContaining(file.toRealPath() + ":11").hasMessageContaining("more than the model's context of 256");
        assertThat(folder.resolve("bad")).doesNotExist();
    }

    @Test
    void refusesAConfigWithoutItsPaths() {
        assertThatThrownBy(() -> TrainingRun.start(TrainConfig.DEFAULTS, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("model is not set");
        assertThatThrownBy(() -> TrainingRun.start(TrainConfig.of("model=m", "data.folder=t"), listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("output is not set");
    }

    private void lengthen(String task, int... lines) throws IOException {
        Path file = tasks.resolve(task + "/train.jsonl");
        var all = new ArrayList<>(Files.readAllLines(file));
        for (int line : lines) {
            all.set(line, "{\"prompt\": \"" + "copy ".repeat(60) + "\", \"completion\": \" x\"}");
        }
        Files.write(file, all);
    }

    @Test
    void saysEveryExampleThatIsTooLong() throws IOException {
        lengthen("add", 1, 2, 3);
        lengthen("copy", 4);

        assertThatThrownBy(() -> start("one")).isInstanceOf(InputException.class)
                .hasMessageStartingWith("4 examples have more tokens than compute.token_budget of 64 (")
                .hasMessageContaining(tasks.resolve("add/train.jsonl") + ":2 (").hasMessageContaining("data.over_length: drop");
        assertThat(folder.resolve("one")).doesNotExist();
    }

    @Test
    void leavesOutWhatIsTooLongAndGoesOnBitForBit() throws IOException {
        lengthen("add", 1, 2, 3);
        lengthen("copy", 4);
        start("straight", "data.over_length=drop", "data.samples_per_task=8");
        assertThat(warnings).singleElement().asString().contains("data.over_length: drop", "copy 1");
        List<String> draws = Files.readAllLines(folder.resolve("straight/draws.jsonl"));
        assertThat(draws.getFirst()).contains("\"task\":\"add\",\"samples\":[0,4,5,6,7,8,9]", "\"dropped\":3");
        assertThat(draws.get(2)).doesNotContain("dropped");

        int[] passes = {0};
        TrainingRun.start(RunFixture.config(tasks, folder.resolve("stopped"), "data.over_length=drop", "data.samples_per_task=8"), listener,
                () -> ++passes[0] >= 20);
        TrainingRun.resume(folder.resolve("stopped"), listener, () -> false);
        requireSame("stopped");

        TrainConfig other = RunFixture.config(tasks, folder.resolve("stopped"), "data.over_length=drop", "data.samples_per_task=8",
                "compute.token_budget=16");
        assertThatThrownBy(() -> TrainingRun.resume(folder.resolve("stopped"), other, false, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("restore them (and compute.token_budget");
    }

    @Test
    void cutsThePromptsThatAreTooLongAndGoesOnBitForBit() throws IOException {
        lengthen("add", 1, 2, 3);
        lengthen("copy", 4);
        String[] settings = {"data.over_length=truncate", "data.max_length=40"};
        start("straight", settings);
        assertThat(warnings).singleElement().asString().contains("data.over_length: truncate", "add 3, copy 1");
        List<String> draws = Files.readAllLines(folder.resolve("straight/draws.jsonl"));
        assertThat(draws.getFirst()).contains("\"task\":\"add\"", "\"truncated\":3").doesNotContain("dropped");

        int[] passes = {0};
        TrainingRun.start(RunFixture.config(tasks, folder.resolve("stopped"), settings), listener, () -> ++passes[0] >= 20);
        TrainingRun.resume(folder.resolve("stopped"), listener, () -> false);
        requireSame("stopped");
        assertThatThrownBy(() -> start("refused", "data.max_length=40")).isInstanceOf(InputException.class)
                .hasMessageStartingWith("4 examples have more tokens than data.max_length of 40 (");
    }

    @Test
    void aCheckpointCarriesTheStateOfTheComposition() throws IOException {
        var state = new TrainerState(7, new float[] {1, 2}, new float[] {3, 4}, new float[] {5, 6}, new float[] {0.25f, 8, 9});
        Path file = new Checkpoint(state, 10, 20).write(Files.createDirectories(folder.resolve("checkpoints")));
        assertThat(Checkpoint.read(file)).usingRecursiveComparison().isEqualTo(new Checkpoint(state, 10, 20));
    }
}
