package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
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
        assertThat(resumed.err()).contains("going on after");
        assertThat(resumed.code()).isZero();
        Path whole = folder.resolve("whole");
        assertThat(Cli.run("train", config, "meta.iterations=400", "output=" + whole).code()).isZero();
        assertThat(run.resolve("adapter/adapter_model.safetensors"))
                .hasBinaryContent(Files.readAllBytes(whole.resolve("adapter/adapter_model.safetensors")));
        assertThat(Files.readAllLines(run.resolve("metrics.jsonl"))).hasSize(400);
    }

    private static void awaitLines(Path file, int count, Process process) throws IOException, InterruptedException {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!Files.exists(file) || Files.readAllLines(file).size() < count) {
            if (!process.isAlive() || System.nanoTime() > end) {
                throw new AssertionError("no " + count + " iterations in time");
            }
            Thread.sleep(10);
        }
    }

    @Test
    void aChangedModelIsForWhoInsists() throws IOException {
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

    @Test
    void resumeNeedsARun() {
        var result = Cli.run("train", "--resume", folder);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(folder.toString(), "no run to resume");
    }

    /** What is too long for the evaluation in the end is said before the training, or with drop left out of it and counted. */
    @Test
    void testExamplesThatAreTooLong() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path test = tasks.resolve("echo/test.jsonl");
        Files.writeString(test, Files.readString(test) + ("{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" b\"}\n").repeat(2));
        Path run = folder.resolve("run");
        Path config = Cli.config(folder, tasks, run);
        var refused = Cli.run("train", config);
        assertThat(refused.code()).isEqualTo(2);
        assertThat(refused.err()).contains("2 examples have more tokens than the model's context of 96", test + ":7", test + ":8",
                "data.over_length: drop");
        assertThat(run).doesNotExist();

        var dropped = Cli.run("train", config, "data.over_length=drop");
        assertThat(dropped.code()).isZero();
        assertThat(dropped.err().lines()).singleElement().asString().startsWith("warning: data.over_length: drop").contains("split test", "echo 2");
        assertThat(dropped.out()).contains("Trained 6 iterations", "mean");

        Files.writeString(test, "{\"prompt\": \"" + "xyz ".repeat(60) + "\", \"completion\": \" b\"}\n");
        assertThat(Cli.run("train", config, "data.over_length=drop", "output=" + folder.resolve("other")).err())
                .contains("all 1 examples of task echo, split test");
    }
}
