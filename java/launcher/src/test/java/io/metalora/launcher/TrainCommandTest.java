package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class TrainCommandTest {

    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    @Test
    void trainsAnAdapterThatTheOtherVerbsTake() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, tasks, run);
        var trained = Cli.run("train", config);
        assertThat(trained.err()).isEmpty();
        assertThat(trained.code()).isZero();
        assertThat(trained.out()).contains("Trained 6 iterations", "base model", "shared adapter", "after stage 1", "mean",
                run.resolve("adapter").toString(), run.resolve("report.html").toString());
        assertThat(run.resolve("adapter/adapter_config.json")).isRegularFile();
        assertThat(run.resolve("adapter/adapter_model.safetensors")).isRegularFile();
        assertThat(run.resolve("config.resolved.yaml")).isRegularFile();
        assertThat(Files.readAllLines(run.resolve("metrics.jsonl"))).hasSize(6);
        assertThat(Files.readAllLines(run.resolve("draws.jsonl"))).hasSize(3 + 6);
        assertThat(Files.readString(run.resolve("report.html"))).contains("<h2>Results</h2>", "<h2>Loss curves</h2>",
                "<h2>Stage 1: before and after</h2>", "<h2>Draws</h2>", "<h2>Configuration</h2>", "colour", "echo");

        var evaluated = Cli.run("eval", "--model", Cli.model(), "--adapter", run.resolve("adapter"), "--tasks", tasks, "--json");
        assertThat(evaluated.code()).isZero();
        JsonNode json = JSON.readTree(evaluated.out());
        assertThat(json.get("tasks")).hasSize(3);
        assertThat(json.at("/tasks/0/method").asText()).isEqualTo("ranking");
        assertThat(json.at("/tasks/0/labels").asInt()).isEqualTo(2);
        assertThat(json.at("/tasks/1/method").asText()).isEqualTo("exact_match");
        double mean = 0;
        for (JsonNode task : json.get("tasks")) {
            assertThat(task.get("items").asInt()).isEqualTo(6);
            assertThat(task.get("accuracy").asDouble()).isEqualTo(task.get("correct").asDouble() / 6);
            mean += task.get("accuracy").asDouble() / 3;
        }
        assertThat(json.get("mean_accuracy").asDouble()).isCloseTo(mean, org.assertj.core.api.Assertions.within(1e-12));

        Path data = tasks.resolve("colour/test.jsonl");
        var base = Cli.run("score", "--model", Cli.model(), "--data", data);
        var scored = Cli.run("score", "--model", Cli.model(), "--adapter", run.resolve("adapter"), "--data", data);
        assertThat(scored.code()).isZero();
        assertThat(scored.out().lines()).hasSize(6);
        assertThat(scored.out()).isNotEqualTo(base.out());

        var generated = Cli.run("generate", "--model", Cli.model(), "--adapter", run.resolve("adapter"), "--prompt", "cat is",
                "--max-new-tokens", "5");
        assertThat(generated.code()).isZero();
    }

    @Test
    void anEmptyNameIsNoConfiguration() {
        var result = Cli.run("train", "");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: the configuration's name is empty; give the YAML file");
    }

    /** A table that does not come is else missed only when all is over. */
    @Test
    void thatATaskWithoutATestSplitLeavesTheEvaluationOutIsSaid() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path config = Cli.config(folder, tasks, folder.resolve("run"));
        Files.delete(tasks.resolve("side/test.jsonl"));
        var trained = Cli.run("train", config, "meta.iterations=1");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(trained.err()).contains("1 of the 3 tasks have no test.jsonl, such as side", "--eval");
        assertThat(trained.out()).doesNotContain("Accuracy");

        for (String task : List.of("colour", "echo")) {
            Files.delete(tasks.resolve(task).resolve("test.jsonl"));
        }
        var none = Cli.run("train", config, "output=" + folder.resolve("none"), "meta.iterations=1");
        assertThat(none.err()).as("no task asks for it").doesNotContain("test.jsonl");
    }

    @ParameterizedTest
    @ValueSource(strings = {"meta-lora", "joint-lora"})
    void settingsOnTheCommandLineReplaceThoseInTheFile(String method) throws IOException {
        Path run = folder.resolve("elsewhere");
        Path config = Cli.config(folder, Cli.tasks(folder), folder.resolve("run"));
        var trained = Cli.run("train", config, "output=" + run, "method=" + method, "meta.iterations=3", "joint.epochs=1", "--no-eval");
        assertThat(trained.err()).isEmpty();
        assertThat(trained.code()).isZero();
        assertThat(folder.resolve("run")).doesNotExist();
        int steps = method.equals("meta-lora") ? 3 : 8; // 60 samples in batches of 8
        assertThat(Files.readAllLines(run.resolve("metrics.jsonl"))).hasSize(steps);
        assertThat(Files.readString(run.resolve("report.html"))).contains("<svg").doesNotContain("<h2>Results</h2>");
    }

    @ParameterizedTest
    @CsvSource({"separate-lora, LoRA of each task", "asymmetric-lora, asymmetric LoRA"})
    void aMethodThatGivesEachTaskAnAdapterDoesWithThemWhatTheTableSays(String method, String name) throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        var result = Cli.run("train", Cli.config(folder, tasks, run), "method=" + method, "optimizer.lr=0.02", "joint.epochs=6");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).contains("own adapter", "adapters " + run.resolve("adapters") + ", a folder a task");
        assertThat(run.resolve("report.html")).content().contains(name, "own adapter");
        for (String task : new String[] {"colour", "echo", "side"}) {
            var own = Cli.run("eval", "--model", Cli.model(), "--adapter", run.resolve("adapters").resolve(task), "--tasks", tasks, "--json", "--threads", "2");
            assertThat(own.code()).as(own.err()).isZero();
            var evaluated = StreamSupport.stream(new ObjectMapper().readTree(own.out()).get("tasks").spliterator(), false)
                    .filter(line -> line.get("task").asText().equals(task)).findFirst().orElseThrow();
            String accuracy = String.format(Locale.ROOT, "%.1f", 100 * evaluated.get("accuracy").asDouble());
            assertThat(result.out().lines().filter(line -> line.startsWith(task))).singleElement().asString().endsWith(accuracy);
        }
        var again = Cli.run("train", "--resume", run);
        assertThat(again.code()).as(again.err()).isZero();
        assertThat(again.out()).contains("own adapter");
    }

    @Test
    void replayRepeatsAnotherRunsDraws() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path first = folder.resolve("first");
        assertThat(Cli.run("train", Cli.config(folder, tasks, first), "--no-eval").code()).isZero();
        Path second = folder.resolve("second");
        var result = Cli.run("train", Cli.config(folder, tasks, second), "--no-eval", "--replay", first.resolve("draws.jsonl"));
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(Files.mismatch(first.resolve("adapter/adapter_model.safetensors"), second.resolve("adapter/adapter_model.safetensors"))).isEqualTo(-1);
        var resumed = Cli.run("train", "--resume", second, "--replay", first.resolve("draws.jsonl"));
        assertThat(resumed.code()).isEqualTo(2);
        assertThat(resumed.err()).contains("--replay is for a new run");
    }

    @Test
    void aFolderWithARunIsLeftAlone() throws IOException {
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, Cli.tasks(folder), run);
        assertThat(Cli.run("train", config).code()).isZero();
        byte[] adapter = Files.readAllBytes(run.resolve("adapter/adapter_model.safetensors"));
        byte[] metrics = Files.readAllBytes(run.resolve("metrics.jsonl"));
        var again = Cli.run("train", config, "seed=4");
        assertThat(again.code()).isEqualTo(2);
        assertThat(again.err()).contains(run.toString(), "already holds a run", "--resume");
        assertThat(run.resolve("adapter/adapter_model.safetensors")).hasBinaryContent(adapter);
        assertThat(run.resolve("metrics.jsonl")).hasBinaryContent(metrics);
    }

    @Test
    void anUnknownKeyNamesItselfAndWritesNothing() throws IOException {
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, Cli.tasks(folder), run, "optimiser: {lr: 1}");
        var result = Cli.run("train", config);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("config.yaml", "optimiser", "optimizer");
        assertThat(run).doesNotExist();
    }

    @Test
    void aSplitToEvaluateThatIsMissingIsSaidBeforeTraining() throws IOException {
        Path tasks = Cli.tasks(folder);
        Files.delete(tasks.resolve("side/dev.jsonl"));
        Path run = folder.resolve("run");
        var result = Cli.run("train", Cli.config(folder, tasks, run), "--eval", "dev");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("side", "dev.jsonl");
        assertThat(run).doesNotExist();
    }

    /** A run that Ctrl-C stopped and --resume went on with ends with the adapter of one that never stopped. */
    @Test
    void ctrlCSavesAndResumeGoesOn() throws IOException, InterruptedException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("stopped");
        Path config = Cli.config(folder, tasks, run);
        Process process = JavaProcess.start(folder, List.of(), "train", config, "meta.iterations=400");
        awaitLines(run.resolve("metrics.jsonl"), 5, process);
        JavaProcess.interrupt(process);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).isEqualTo(130);
        assertThat(stopped.err()).contains("stopping");
        assertThat(stopped.out()).containsPattern("Stopped after \\d+ of 400 iterations").contains("metalora train --resume " + run);
        assertThat(run.resolve("report.html")).content().contains("can be resumed");

        var resumed = Cli.run("train", "--resume", run);
        assertThat(resumed.err()).contains("continuing after");
        assertThat(resumed.code()).isZero();
        Path whole = folder.resolve("whole");
        assertThat(Cli.run("train", config, "meta.iterations=400", "output=" + whole).code()).isZero();
        assertThat(run.resolve("adapter/adapter_model.safetensors"))
                .hasBinaryContent(Files.readAllBytes(whole.resolve("adapter/adapter_model.safetensors")));
        assertThat(Files.readAllLines(run.resolve("metrics.jsonl"))).hasSize(400);
    }

    /** Where a progress bar is drawn, which once took the signal for itself: the run then ended with nothing saved. */
    @Test
    void ctrlCOnATerminalSavesToo() throws IOException, InterruptedException {
        Path run = folder.resolve("it's stopped");
        Path config = Cli.config(folder, Cli.tasks(folder), run);
        Process process = JavaProcess.startOnTerminal(folder, "train", config, "meta.iterations=100000", "compute.checkpoint_every=100000");
        awaitThat(process, () -> Files.readString(folder.resolve("out")).contains("training, "));
        awaitLines(run.resolve("metrics.jsonl"), 5, process);
        try (var keys = process.getOutputStream()) {
            keys.write(3);
            keys.flush();
            var stopped = JavaProcess.await(process, folder);
            String end = stopped.out().substring(Math.max(0, stopped.out().length() - 2000)); // behind the bar
            assertThat(end).containsPattern("Stopped after \\d+ of 100000 iterations")
                    .contains("metalora train --resume '" + folder.resolve("it'\\''s stopped") + "'\r\n");
            assertThat(stopped.code()).isEqualTo(130);
        }
        assertThat(run.resolve("report.html")).content().contains("can be resumed");
    }

    /** Many items of a task, so that their evaluation takes a while. */
    private Path manyItems() throws IOException {
        Path tasks = Cli.tasks(folder);
        for (String task : new String[] {"colour", "side", "echo"}) {
            Path test = tasks.resolve(task).resolve("test.jsonl");
            Files.writeString(test, Files.readString(test).repeat(300));
        }
        return tasks;
    }

    private static List<String> table(String out) {
        return out.lines().dropWhile(line -> !line.startsWith("Accuracy on")).takeWhile(line -> !line.isEmpty()).toList();
    }

    /** Stopped while it evaluates, a run has its report; resumed, it has the table of one that was never stopped. */
    @ParameterizedTest
    @CsvSource({"INT, 130, base model", "TERM, 143, shared adapter", "HUP, 129, after stage 1"})
    void anEvaluationThatIsStoppedIsCompletedByResuming(String signal, int code, String arm) throws IOException, InterruptedException {
        Path run = folder.resolve("stopped");
        Path config = Cli.config(folder, manyItems(), run);
        Process process = JavaProcess.start(folder, List.of(), "train", config, "--eval-samples", "all");
        Path log = run.resolve("evaluation.jsonl");
        awaitThat(process, () -> Files.exists(log) && Files.readString(log).contains("\"arm\":\"" + arm + "\""));
        JavaProcess.signal(process, signal);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(code);
        assertThat(stopped.err()).contains("stopping: what is done is saved");
        assertThat(stopped.out()).contains("Trained 6 iterations", "The evaluation is not complete. Answered of 5400 items each: base model",
                "Continue with: metalora train --resume " + run + " --eval-samples all");
        assertThat(run.resolve("report.html")).content().contains("The evaluation is not complete.", "<h2>Results</h2>");
        int lines = Files.readAllLines(log).size();

        var resumed = Cli.run("train", "--resume", run);
        assertThat(resumed.code()).as(resumed.err()).isZero();
        assertThat(Files.readAllLines(log)).hasSizeGreaterThan(lines).as("what was answered is kept").startsWith(
                Files.readAllLines(log).subList(0, lines).toArray(String[]::new));
        assertThat(Files.readAllLines(log)).doesNotHaveDuplicates();
        Path whole = folder.resolve("whole");
        var unstopped = Cli.run("train", config, "output=" + whole, "--eval-samples", "all");
        assertThat(table(resumed.out())).hasSizeGreaterThan(4).isEqualTo(table(unstopped.out()));
        assertThat(run.resolve("report.html")).content().doesNotContain("not complete");
    }

    @Test
    void aRunThatIsEvaluatedIsNotEvaluatedAgain() throws IOException {
        Path run = folder.resolve("run");
        var first = Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), "--eval", "dev");
        Path log = run.resolve("evaluation.jsonl");
        String kept = Files.readString(log);
        var again = Cli.run("train", "--resume", run);
        assertThat(again.code()).isZero();
        assertThat(again.out()).as("on the split it was begun with").contains("Accuracy on dev");
        assertThat(table(again.out())).isEqualTo(table(first.out()));
        assertThat(log).hasContent(kept);
        assertThat(Cli.run("train", "--resume", run, "--eval", "test").out()).contains("Accuracy on test");
        assertThat(Cli.run("train", "--resume", run, "--no-eval").out()).doesNotContain("Accuracy");
    }

    @Test
    void aSampleIsSaidToBeOne() throws IOException {
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, manyItems(), run);
        var sampled = Cli.run("train", config, "--eval-samples", "10", "--eval-tasks", "2");
        assertThat(sampled.code()).as(sampled.err()).isZero();
        String said = "Accuracy on test in percent, on a sample: 2 of the 3 tasks, 10 items each of every task, stage 1 on at most 10 samples "
                + "a task";
        assertThat(sampled.out()).contains(said + ":");
        assertThat(table(sampled.out())).hasSize(1 + 1 + 2 + 1);
        assertThat(run.resolve("report.html")).content().contains(said + ".");
        JsonNode settings = JSON.readTree(Files.readAllLines(run.resolve("evaluation.jsonl")).getFirst());
        assertThat(settings.get("samples").asInt()).isEqualTo(10);
        assertThat(settings.get("tasks").asInt()).isEqualTo(2);
        JsonNode task = JSON.readTree(Files.readAllLines(run.resolve("evaluation.jsonl")).get(1));
        assertThat(task.get("items")).hasSize(10);
        assertThat(task.get("of").asInt()).isEqualTo(1800);

        Path other = folder.resolve("other");
        assertThat(Cli.run("train", config, "output=" + other, "seed=9", "--eval-samples", "10", "--eval-tasks", "2").code()).isZero();
        assertThat(Files.readAllLines(other.resolve("evaluation.jsonl")).subList(1, 3)).as("the same items for another seed")
                .isEqualTo(Files.readAllLines(run.resolve("evaluation.jsonl")).subList(1, 3));

        var byDefault = Cli.run("train", config, "output=" + folder.resolve("default"));
        assertThat(byDefault.out()).contains("Accuracy on test in percent, on a sample: 200 items each of every task:");
    }

    /** Though the adapter is the same, what another model answered does not count. */
    @Test
    void anotherModelIsEvaluatedAnew() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path run = folder.resolve("run");
        assertThat(Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), "model=" + model).code()).isZero();
        Path log = run.resolve("evaluation.jsonl");
        List<String> before = Files.readAllLines(log);
        String answer = "\"correct\":\"";
        Files.write(log, before.stream().map(line -> line.replaceFirst(answer + ".", answer + (line.contains(answer + "1") ? 0 : 1))).toList());
        Path file = model.resolve("config.json");
        Files.writeString(file, Files.readString(file).replaceFirst("\"rms_norm_eps\": [^,]*", "\"rms_norm_eps\": 1.01e-5"));
        byte[] adapter = Files.readAllBytes(run.resolve("adapter/adapter_model.safetensors"));

        assertThat(Cli.run("train", "--resume", run, "--allow-changed-model").code()).isZero();
        assertThat(run.resolve("adapter/adapter_model.safetensors")).hasBinaryContent(adapter);
        List<String> after = Files.readAllLines(log);
        assertThat(after.getFirst()).isNotEqualTo(before.getFirst());
        assertThat(after.subList(1, after.size())).as("answered again").isEqualTo(before.subList(1, before.size()));
    }

    private interface Condition {
        boolean holds() throws IOException;
    }

    private static void awaitThat(Process process, Condition condition) throws IOException, InterruptedException {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!condition.holds()) {
            if (!process.isAlive() || System.nanoTime() > end) {
                throw new AssertionError("it did not come so far in time");
            }
            Thread.sleep(5);
        }
    }

    private static void awaitLines(Path file, int count, Process process) throws IOException, InterruptedException {
        awaitThat(process, () -> Files.exists(file) && Files.readAllLines(file).size() >= count);
    }

    @Test
    void aChangedModelIsTakenOnlyOnRequest() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, Cli.tasks(folder), run);
        assertThat(Cli.run("train", config, "model=" + model, "--no-eval").code()).isZero();
        Path file = model.resolve("config.json");
        Files.writeString(file, Files.readString(file).replaceFirst("\"rms_norm_eps\": [^,]*", "\"rms_norm_eps\": 0.5"));

        var refused = Cli.run("train", "--resume", run, "--no-eval");
        assertThat(refused.code()).isEqualTo(2);
        assertThat(refused.err()).startsWith("error: the base model " + model).contains("rms_norm_eps was ", ", is 0.5", "--allow-changed-model");
        var insisted = Cli.run("train", "--resume", run, "--no-eval", "--allow-changed-model");
        assertThat(insisted.err()).contains("warning: the base model", "rms_norm_eps was ");
        assertThat(insisted.code()).isZero();
        assertThat(Cli.run("train", config, "output=" + folder.resolve("new"), "--allow-changed-model").code()).isEqualTo(2);
        assertThat(folder.resolve("new")).doesNotExist();
    }

    /** What is to be typed can be. */
    @ParameterizedTest
    @CsvSource(quoteCharacter = '`', value = {"/runs/first-1.0, /runs/first-1.0", "/my runs/first, '/my runs/first'", "/it's, '/it'\\''s'", "/a$b, '/a$b'"})
    void aPathIsQuotedForAShell(String path, String quoted) {
        assertThat(TrainCommand.quoted(Path.of(path))).isEqualTo(quoted);
    }

    @Test
    void resumeNeedsARun() {
        var result = Cli.run("train", "--resume", folder);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(folder.toString(), "no run to resume");
    }

    /** What is too long for the evaluation at the end is said before the training, or with drop left out of it and counted. */
    @Test
    void testExamplesThatAreTooLong() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path test = tasks.resolve("echo/test.jsonl");
        Files.writeString(test, Files.readString(test) + ("{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" b\"}\n").repeat(2));
        Path another = tasks.resolve("colour/test.jsonl");
        Files.writeString(another, Files.readString(another) + "{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" red\"}\n");
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, tasks, run);
        var refused = Cli.run("train", config);
        assertThat(refused.code()).isEqualTo(2);
        assertThat(refused.err()).as("of all tasks at once").contains("3 examples have more tokens than the model's context of 96",
                another + ":7", test + ":7", test + ":8", "data.over_length: drop");
        assertThat(run).doesNotExist();

        var dropped = Cli.run("train", config, "data.over_length=drop");
        assertThat(dropped.code()).isZero();
        assertThat(dropped.err().lines()).singleElement().asString().startsWith("warning: data.over_length: drop").contains("split test", "colour 1, echo 2");
        assertThat(dropped.out()).contains("Trained 6 iterations", "mean");

        Files.writeString(test, "{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" b\"}\n");
        assertThat(Cli.run("train", config, "data.over_length=drop", "output=" + folder.resolve("other")).err())
                .contains("all 1 examples of task echo, split test");
    }
}
