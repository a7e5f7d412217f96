package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.config.TrainConfig;
import io.metalora.file.AtomicFile;
import io.metalora.files.Pipe;
import io.metalora.runtime.InputException;
import io.metalora.train.Goldens;
import io.metalora.train.IterationReport;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a resumed run depends on: where it has changed in between, that is said before anything is, or it has its own copy. */
class ResumeTest {

    @TempDir
    Path folder;
    private Path tasks;
    private Path model;
    private Path run;

    private final List<String> warnings = new ArrayList<>();
    private final TrainListener listener = new TrainListener() {
        @Override
        public void warning(String message) {
            warnings.add(message);
        }
    };

    @BeforeEach
    void prepare() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
        model = RunFixture.copy(Goldens.path("tiny-llama"), folder.resolve("model"));
        run = folder.resolve("run");
    }

    private TrainConfig config(Path output, String... overrides) {
        return RunFixture.config(tasks, output, "model=" + model).with(overrides);
    }

    /** A run that stopped after some of its eight iterations. */
    private void stopped(String... overrides) {
        int[] iterations = {0};
        var counting = new TrainListener() {
            @Override
            public void iteration(IterationReport report, long total) {
                iterations[0]++;
            }
        };
        TrainingRun.start(config(run, overrides), counting, () -> iterations[0] >= 5);
        assertThat(iterations[0]).isEqualTo(5);
    }

    private AbstractThrowableAssert<?, ?> refused() throws IOException {
        var before = RunFixture.snapshot(run);
        var refused = assertThatThrownBy(() -> TrainingRun.resume(run, listener, () -> false)).isInstanceOf(InputException.class);
        var after = RunFixture.snapshot(run);
        before.remove(""); // the folder's own time, and the lock's file, tell of the attempt
        after.remove("");
        before.remove(RunLock.FILE);
        after.remove(RunLock.FILE);
        assertThat(after).isEqualTo(before);
        return refused;
    }

    private void goesOnAs(String straight) throws IOException {
        assertThat(TrainingRun.resume(run, listener, () -> false).done()).isEqualTo(8);
        assertThat(RunFixture.adapter(run)).isEqualTo(RunFixture.adapter(folder.resolve(straight)));
        assertThat(RunFixture.metrics(run)).isEqualTo(RunFixture.metrics(folder.resolve(straight)));
        assertThat(run.resolve("draws.jsonl")).hasSameBinaryContentAs(folder.resolve(straight).resolve("draws.jsonl"));
    }

    private static void replace(Path file, String from, String to) throws IOException {
        String text = Files.readString(file);
        assertThat(text).contains(from);
        Files.writeString(file, text.replaceFirst(from, to));
    }

    // ---- the base model

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            config.json            | `"rms_norm_eps": 1e-05`      | `"rms_norm_eps": 1e-06`      | config.json rms_norm_eps was 1.0E-5, is 1.0E-6
            config.json            | `"rope_theta": 10000.0`      | `"rope_theta": 20000.0`      | config.json rope.theta was 10000.0, is 20000.0
            config.json            | `"max_position_embeddings": 256` | `"max_position_embeddings": 128` | config.json max_positions was 256, is 128
            tokenizer.json         | `"version"`                  | `"version" `                 | tokenizer.json has another content
            """)
    void isComparedWithWhatTheRunBeganWith(String file, String from, String to, String change) throws IOException {
        stopped();
        replace(model.resolve(file), from, to);

        refused().hasMessageContaining(model.toString()).hasMessageContaining(change).hasMessageContaining("--allow-changed-model");

        assertThat(TrainingRun.resume(run, null, true, listener, () -> false).done()).isEqualTo(8);
        assertThat(warnings).anySatisfy(warning -> assertThat(warning).contains(change));
    }

    @Test
    void anEndTokenOfGenerationConfigIsPartOfIt() throws IOException {
        stopped();
        Files.writeString(model.resolve("generation_config.json"), "{\"eos_token_id\": [7]}");

        refused().hasMessageContaining("config.json eos_token_ids was [").hasMessageContaining("7]");
    }

    /** One value of one weight, in the first, a middle and the last tensor of the file. */
    @ParameterizedTest
    @CsvSource({"0.02", "0.5", "0.999"})
    void aChangedWeightIsNamed(double at) throws IOException {
        stopped();
        try (var file = new RandomAccessFile(model.resolve("model.safetensors").toFile(), "rw")) {
            long position = (long) (at * (file.length() - 20_000)) + 20_000 - 4;
            file.seek(position);
            int b = file.read();
            file.seek(position);
            file.write(b ^ 1);
        }

        refused().hasMessageContaining("tensor ").hasMessageContaining(" holds other values");
        assertThat(TrainingRun.resume(run, null, true, listener, () -> false).done()).isEqualTo(8);
    }

    @Test
    void whatComputesTheSameIsTheSame() throws IOException {
        TrainingRun.start(config(folder.resolve("straight")), listener, () -> false);
        stopped();
        replace(model.resolve("config.json"), "\"transformers_version\": \"5.17.0\"", "\"transformers_version\": \"9.9\", \"new\": 1");
        Path moved = Files.move(model.resolve("model.safetensors"), model.resolve("moved"));
        Files.copy(moved, model.resolve("model.safetensors"));

        goesOnAs("straight");
        assertThat(warnings).isEmpty();
    }

    @Test
    void aRunFolderOfAnEarlierVersionGoesOnWithAWarning() throws IOException {
        TrainingRun.start(config(folder.resolve("straight")), listener, () -> false);
        stopped();
        Files.delete(run.resolve("fingerprint.json"));
        Files.delete(run.resolve(RunLock.FILE));

        goesOnAs("straight");
        assertThat(warnings).singleElement().asString().contains("earlier version");
    }

    @Test
    void aDamagedFingerprintIsSaid() throws IOException {
        stopped();
        Path file = run.resolve("fingerprint.json");
        for (String content : List.of("", "{", "{\"format\": \"other\"}", Files.readString(file).replace("\"compute\"", "\"c\""))) {
            Files.writeString(file, content);
            refused().hasMessageContaining(file.toString()).hasMessageContaining("--allow-changed-model");
        }
        TrainingRun.resume(run, null, true, listener, () -> false);
        assertThat(warnings).anySatisfy(warning -> assertThat(warning).contains(file.toString()));
    }

    @Test
    void otherThreadsAreWarnedOf() throws IOException {
        stopped();
        TrainingRun.resume(run, config(run, "compute.threads=1", "compute.token_budget=128"), false, listener, () -> false);

        assertThat(warnings).singleElement().asString().contains("threads was 2, is 1", "token_budget was 64, is 128", "rounding");
    }

    // ---- the adapter it began from

    @ParameterizedTest
    @CsvSource({"5, gone", "5, changed", "0, gone", "0, changed"})
    void theAdapterItBeganFromIsItsOwn(int iterations, String fate) throws IOException {
        Path init = folder.resolve("first/adapter");
        TrainingRun.start(config(folder.resolve("first"), "adapter.rank=3", "adapter.alpha=5", "adapter.dropout=0.2"), listener, () -> false);
        TrainingRun.start(config(folder.resolve("straight"), "adapter.init=" + init), listener, () -> false);
        stopped("adapter.init=" + init);
        if (iterations == 0) { // as if it had been killed before its first checkpoint
            AtomicFile.delete(run.resolve("adapter"));
            for (Path checkpoint : Checkpoint.list(run.resolve("checkpoints"))) {
                Files.delete(checkpoint);
            }
            String first = Files.readAllLines(run.resolve("metrics.jsonl")).getFirst();
            Files.writeString(run.resolve("metrics.jsonl"), first + "\n");
        }
        if (fate.equals("gone")) {
            Files.delete(init.resolve("adapter_config.json"));
            Files.delete(init.resolve("adapter_model.safetensors"));
        } else {
            replace(init.resolve("adapter_config.json"), "\"lora_alpha\" : 5", "\"lora_alpha\" : 50");
            replace(init.resolve("adapter_config.json"), "\"use_rslora\" : false", "\"use_rslora\" : true");
        }

        goesOnAs("straight");
        assertThat(warnings).isEmpty();
    }

    @Test
    void itsCopyIsMissed() throws IOException {
        TrainingRun.start(config(folder.resolve("first")), listener, () -> false);
        stopped("adapter.init=" + folder.resolve("first/adapter"));
        Path copy = run.resolve("initial_adapter");
        Files.delete(copy.resolve("adapter_config.json"));
        Files.delete(copy.resolve("adapter_model.safetensors"));
        Files.delete(copy);

        refused().hasMessageContaining(copy + " is missing");
    }

    /** Its alpha scales every iteration, its values the first. */
    @Test
    void aChangeOfItsCopyIsNoticed() throws IOException {
        TrainingRun.start(config(folder.resolve("first"), "adapter.alpha=5"), listener, () -> false);
        stopped("adapter.init=" + folder.resolve("first/adapter"));
        Path copy = run.resolve("initial_adapter");
        replace(copy.resolve("adapter_config.json"), "\"lora_alpha\" : 5", "\"lora_alpha\" : 6");
        refused().hasMessageContaining(copy + " is not the adapter that the run began from");

        replace(copy.resolve("adapter_config.json"), "\"lora_alpha\" : 6", "\"lora_alpha\" : 5");
        byte[] weights = Files.readAllBytes(copy.resolve("adapter_model.safetensors"));
        weights[weights.length - 1] ^= 1;
        Files.write(copy.resolve("adapter_model.safetensors"), weights);
        refused().hasMessageContaining(copy + " is not the adapter that the run began from");

        weights[weights.length - 1] ^= 1;
        Files.write(copy.resolve("adapter_model.safetensors"), weights);
        assertThat(TrainingRun.resume(run, listener, () -> false).done()).isEqualTo(8);
    }

    // ---- the run's own files

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            file    | is a file
            link    | is a link that leads nowhere
            others  | holds mine.txt
            damaged | malformed JSON
            """)
    void whatIsInTheWayOfItsAdapterIsSaidBeforeTrainingGoesOn(String what, String message) throws IOException {
        stopped();
        Path adapter = run.resolve("adapter");
        if (what.equals("damaged")) {
            Files.writeString(adapter.resolve("adapter_config.json"), "{");
        } else {
            AtomicFile.delete(adapter);
        }
        switch (what) {
            case "file" -> Files.writeString(adapter, "mine");
            case "link" -> Files.createSymbolicLink(adapter, folder.resolve("nowhere"));
            case "others" -> Files.writeString(Files.createDirectory(adapter).resolve("mine.txt"), "mine");
            default -> { }
        }

        refused().hasMessageContaining(adapter.toString()).hasMessageContaining(message).hasMessageContaining("nothing was changed");
    }

    @ParameterizedTest
    @CsvSource({"asymmetric-lora, file", "separate-lora, link"})
    void whatIsInPlaceOfTheFolderOfItsAdaptersIsSaidBeforeTrainingGoesOn(String method, String what) throws IOException {
        stopped("method=" + method, "joint.batch_size=1");
        Path adapters = run.resolve("adapters");
        AtomicFile.delete(adapters);
        if (what.equals("file")) {
            Files.writeString(adapters, "mine");
        } else {
            Files.createSymbolicLink(adapters, folder.resolve("nowhere"));
        }

        refused().hasMessageContaining(adapters + ": is no folder").hasMessageContaining("nothing was changed");
    }

    @ParameterizedTest
    @ValueSource(strings = {"run.lock", "metrics.jsonl", "draws.jsonl",
            "evaluation.jsonl", "report.html", "checkpoints/checkpoint-0000000005.safetensors",
            "adapter/adapter_model.safetensors"})
    void aFolderInPlaceOfItsFileIsSaidBeforeTrainingGoesOn(String name) throws IOException {
        stopped();
        Path file = run.resolve(name);
        Files.deleteIfExists(file);
        Files.createDirectory(file);

        refused().hasMessageContaining(file.toString());
    }

    @ParameterizedTest
    @ValueSource(strings = {"fingerprint.json", "metrics.jsonl", "draws.jsonl", "replay.jsonl", "adapter/adapter_config.json",
            "adapter/adapter_model.safetensors", "initial_adapter/adapter_config.json"})
    @Timeout(60)
    void aPipeInPlaceOfItsFile(String name) throws IOException, InterruptedException {
        TrainingRun.start(config(folder.resolve("first")), listener, () -> false);
        stopped("adapter.init=" + folder.resolve("first/adapter"), "meta.replay=" + folder.resolve("first/draws.jsonl"));
        Files.delete(run.resolve(name));
        Pipe.make(run.resolve(name));

        assertThatThrownBy(() -> TrainingRun.resume(run, listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining(run.toString());
        Files.delete(run.resolve(name)); // a copy of the folder would read it
    }

    /** What the end of a run writes: a training of hours would come before it. */
    @ParameterizedTest
    @ValueSource(strings = {"evaluation.jsonl", "heads.json", "report.html", "metrics.jsonl", "draws.jsonl"})
    @Timeout(60)
    void aPipeOrADeviceWhereItWritesIsSaidBeforeTrainingGoesOn(String name) throws IOException, InterruptedException {
        stopped();
        Path file = run.resolve(name);
        Files.deleteIfExists(file);
        long checkpoints = RunFixture.snapshot(run.resolve("checkpoints")).size();
        Pipe.make(file);
        assertThatThrownBy(() -> TrainingRun.resume(run, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining(file + ": is a pipe or a device where the run has a file");
        Files.delete(file);
        Files.createSymbolicLink(file, Path.of("/dev/null"));
        assertThatThrownBy(() -> TrainingRun.resume(run, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining(file + ": is a pipe or a device where the run has a file");
        Files.delete(file);
        assertThat(RunFixture.snapshot(run.resolve("checkpoints"))).hasSize((int) checkpoints);
    }

    @Test
    void aFingerprintThatIsALinkToNowhereIsNotThatOfAnEarlierVersion() throws IOException {
        stopped();
        Files.delete(run.resolve("fingerprint.json"));
        Files.createSymbolicLink(run.resolve("fingerprint.json"), folder.resolve("nowhere"));
        assertThatThrownBy(() -> TrainingRun.resume(run, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("leads nowhere").hasMessageContaining("--allow-changed-model");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            iterations: 8         | iterations: 9            | meta.iterations was 8, is 9
            method: meta-lora     | method: joint-lora       | method was meta-lora, is joint-lora
            lr: 0.001             | lr: 0.01                 | optimizer.lr was 0.001, is 0.01
            (?s)\\n  clip.*      | ''                       | optimizer.clip was 0.5, is 1.0
            (?s)^method.*\\njoint:| joint:                  | config.resolved.yaml: is damaged
            (?s)^.*$              | ''                       | config.resolved.yaml: is damaged
            """)
    void changedSettingsAreSaid(String from, String to, String message) throws IOException {
        stopped("optimizer.clip=0.5");
        Path file = run.resolve("config.resolved.yaml");
        String text = Files.readString(file);
        String changed = text.replaceFirst(from, to == null ? "" : to);
        assertThat(changed).isNotEqualTo(text);
        Files.writeString(file, changed);

        refused().hasMessageContaining(message);
    }

    @Test
    void aFolderThatWasMovedGoesOn() throws IOException {
        TrainingRun.start(config(folder.resolve("straight")), listener, () -> false);
        stopped();
        run = Files.move(run, folder.resolve("moved"));

        goesOnAs("straight");
        assertThat(warnings).isEmpty();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            metrics.jsonl | 3 | `{"iteration":3,`       | the line is damaged: it is not a JSON object
            metrics.jsonl | 1 | ``                      | the line is damaged: it is not a JSON object
            metrics.jsonl | 2 | `{"iteration":4}`       | the line is damaged: it must be that of iteration 2
            metrics.jsonl | 2 | `{"iteration":2} {}`    | the line is damaged: it is not a JSON object
            metrics.jsonl | 4 | `\u0000\u0000`        | the line is damaged: it is not a JSON object
            draws.jsonl   | 5 | `{"iteration":2`        | the line is damaged: it is not a JSON object
            draws.jsonl   | 6 | `{"draws":[]}`          | the line is damaged: it must be that of iteration 3
            draws.jsonl   | 4 | `[1]`                   | the line is damaged: it is not a JSON object
            """)
    void aDamagedLineIsNamedBeforeTrainingGoesOn(String name, int number, String line, String message) throws IOException {
        stopped();
        Path log = run.resolve(name);
        var lines = new ArrayList<>(Files.readAllLines(log));
        String before = lines.get(number - 1);
        lines.set(number - 1, line + " ".repeat(before.length() - line.length()));
        Files.write(log, lines);

        refused().hasMessageStartingWith(log + ":" + number + ": " + message).hasMessageContaining("Nothing was changed");
    }

    @Test
    void aLineThatIsMissingIsSaid() throws IOException {
        stopped();
        Path log = run.resolve("metrics.jsonl");
        var lines = new ArrayList<>(Files.readAllLines(log));
        lines.set(0, lines.get(0) + " ".repeat(lines.remove(4).length() + 1));
        Files.write(log, lines);

        refused().hasMessageContaining(log + ": holds 4 iterations, but the checkpoint is of iteration 5");
    }

    @Test
    void checkpointsThatAreGoneAreMissed() throws IOException {
        stopped();
        for (Path checkpoint : Checkpoint.list(run.resolve("checkpoints"))) {
            Files.delete(checkpoint);
        }
        refused().hasMessageContaining("holds no checkpoint").hasMessageContaining("that were saved");

        Files.delete(run.resolve("checkpoints"));
        Files.writeString(run.resolve("metrics.jsonl"), "{\"iteration\":1}\n");
        refused().hasMessageContaining("holds no checkpoint");

        Files.delete(run.resolve("metrics.jsonl"));
        TrainingRun.start(config(folder.resolve("straight")), listener, () -> false);
        goesOnAs("straight");
    }

    /** Stopped long before its first regular checkpoint. */
    @Test
    void theCheckpointOfAStopIsMissedToo() throws IOException {
        stopped("compute.checkpoint_every=50");
        for (Path checkpoint : Checkpoint.list(run.resolve("checkpoints"))) {
            Files.delete(checkpoint);
        }
        refused().hasMessageContaining("holds no checkpoint");
    }

    /** Stopped before its first iteration, then killed in the midst of others: there is nothing to go on from, and nothing lost. */
    @Test
    void withoutAnIterationThereIsNothingToMiss() throws IOException {
        TrainConfig config = config(run, "compute.checkpoint_every=50");
        assertThat(TrainingRun.start(config, listener, () -> true).done()).isZero();
        assertThat(run.resolve("adapter")).doesNotExist();
        var killed = new TrainListener() {
            @Override
            public void iteration(IterationReport report, long total) {
                if (report.iteration() == 3) {
                    throw new IllegalStateException("killed");
                }
            }
        };
        assertThatThrownBy(() -> TrainingRun.resume(run, killed, () -> false)).hasMessage("killed");
        TrainingRun.start(config(folder.resolve("straight"), "compute.checkpoint_every=50"), listener, () -> false);
        goesOnAs("straight");
    }

    @Test
    void aTaskThatIsGoneOrNewIsNoticed() throws IOException {
        stopped();
        Path last = tasks.resolve("upper");
        Files.move(last, folder.resolve("aside"));
        refused().hasMessageContaining("the training examples of task upper in " + tasks + " are not those that the run began with");

        Files.move(folder.resolve("aside"), last);
        RunFixture.copy(last, tasks.resolve("zebra"));
        refused().hasMessageContaining("the training examples of task zebra");
    }

    // ---- output and data.folder

    @Test
    void aRunFolderAmongTheTasksIsRefused() throws IOException {
        Path link = Files.createSymbolicLink(folder.resolve("link"), tasks);
        for (Path output : List.of(tasks, tasks.resolve("run"), tasks.resolve("add/run"), link.resolve("run"), link.resolve("new/run"), folder)) {
            assertThatThrownBy(() -> TrainingRun.start(config(output), listener, () -> false)).isInstanceOf(InputException.class)
                    .hasMessageContaining("output " + output + " and data.folder " + tasks + ": one is inside the other");
        }
        Path other = Files.createSymbolicLink(folder.resolve("outside"), Files.createDirectory(tasks.resolve("inside")));
        assertThatThrownBy(() -> TrainingRun.start(config(other.resolve("run")), listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("one is inside the other");
        assertThat(tasks.resolve("inside")).isEmptyDirectory();
        assertThat(tasks.resolve("run")).doesNotExist();
    }

    @Test
    void aRunFolderThatWasMovedAmongTheTasksIsRefused() throws IOException {
        stopped();
        Path moved = Files.move(run, tasks.resolve("run"));
        assertThatThrownBy(() -> TrainingRun.resume(moved, listener, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("move the run folder out of it");
    }
}
