package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.HostTensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.Executors;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AdaptCommandTest {

    @TempDir
    private static Path shared;

    private static Path tasks;
    private static Path adapter;

    @TempDir
    private Path folder;

    @BeforeAll
    static void train() throws IOException {
        tasks = Cli.tasks(shared);
        var result = Cli.run("train", Cli.config(shared, tasks, shared.resolve("run")), "--no-eval");
        assertThat(result.code()).as(result.err()).isZero();
        adapter = shared.resolve("run/adapter");
    }

    private static Cli.Result adapt(Object output, Object... more) {
        var arguments = new ArrayList<Object>(List.of("adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--output",
                output, "--threads", "2"));
        arguments.addAll(List.of(more));
        return Cli.run(arguments.toArray());
    }

    private static double eval(Path ofTask, String task) throws IOException {
        var result = Cli.run("eval", "--model", Cli.model(), "--adapter", ofTask, "--tasks", tasks, "--json", "--threads", "2");
        assertThat(result.code()).as(result.err()).isZero();
        for (JsonNode line : new ObjectMapper().readTree(result.out()).get("tasks")) {
            if (line.get("task").asText().equals(task)) {
                return line.get("accuracy").asDouble();
            }
        }
        throw new AssertionError(task);
    }

    @Test
    void eachTaskGetsAnAdapterOfItsOwnThatDoesWhatTheTableSays() throws IOException {
        Path output = folder.resolve("adapted");
        var result = adapt(output, "--lr", "0.02", "--samples", "16", "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode json = new ObjectMapper().readTree(result.out());
        assertThat(json.get("tasks")).hasSize(3);
        double before = 0;
        double after = 0;
        for (JsonNode line : json.get("tasks")) {
            String task = line.get("task").asText();
            assertThat(line.get("samples").asInt()).isEqualTo(16);
            assertThat(line.get("before").asDouble()).isEqualTo(eval(adapter, task));
            assertThat(line.get("after").asDouble()).isEqualTo(eval(output.resolve(task), task));
            before += line.get("before").asDouble() / 3;
            after += line.get("after").asDouble() / 3;
        }
        assertThat(json.get("mean_before").asDouble()).isCloseTo(before, within(1e-12));
        assertThat(json.get("mean_after").asDouble()).isCloseTo(after, within(1e-12)).isGreaterThan(before);
        assertThat(Files.mismatch(output.resolve("side/adapter_model.safetensors"), output.resolve("colour/adapter_model.safetensors")))
                .isNotEqualTo(-1);
        JsonNode kept = new ObjectMapper().readTree(output.resolve("adapt.json").toFile());
        assertThat(kept.get("complete").asBoolean()).isTrue();
        assertThat(kept.at("/train_lines/echo")).hasSize(16);
        assertThat(kept.get("results")).isEqualTo(json);

        var again = adapt(folder.resolve("again"), "--lr", "0.02", "--samples", "16");
        assertThat(again.out()).contains("task", "samples", "before", "after", "mean");
        assertThat(Files.mismatch(output.resolve("echo/adapter_model.safetensors"), folder.resolve("again/echo/adapter_model.safetensors")))
                .as("the same seed gives the same bits").isEqualTo(-1);
    }

    @Test
    void onBAloneTheTasksShareA() throws IOException {
        Path output = folder.resolve("adapted");
        assertThat(adapt(output, "--adapts", "b", "--steps", "2").code()).isZero();
        try (var shared = Safetensors.open(adapter.resolve("adapter_model.safetensors"));
             var own = Safetensors.open(output.resolve("side/adapter_model.safetensors"))) {
            assertThat(own.names()).isNotEmpty().allSatisfy(name ->
                    assertThat(Arrays.equals(own.tensor(name).toFloats(), shared.tensor(name).toFloats())).as(name)
                            .isEqualTo(name.contains("lora_A")));
        }
    }

    @Test
    void loraHasNoRouterToAdapt() {
        Path output = folder.resolve("adapted");
        var refused = adapt(output, "--adapts", "heads-and-router");
        assertThat(refused.code()).isEqualTo(2);
        assertThat(refused.err()).contains("--adapts is heads-and-router, but the adapter in " + adapter + " is LoRA");
        assertThat(output).doesNotExist();
        assertThat(adapt(output, "--adapts", "router").err()).contains("all, b, heads-and-router");
    }

    @Test
    void ctrlCKeepsWhatIsDoneAndSaysWhatIsNot() throws IOException, InterruptedException {
        Path output = folder.resolve("stopped");
        Process process = JavaProcess.start(folder, List.of(), "adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--output",
                output, "--epochs", "100000");
        long end = System.nanoTime() + 60_000_000_000L;
        while (!Files.exists(output) && process.isAlive() && System.nanoTime() < end) {
            Thread.sleep(20);
        }
        Thread.sleep(1000);
        JavaProcess.interrupt(process);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(130);
        assertThat(stopped.err()).contains("stopped: 0 of 3 tasks have their adapter");
        JsonNode kept = new ObjectMapper().readTree(output.resolve("adapt.json").toFile());
        assertThat(kept.get("complete").asBoolean(true)).isFalse();
        assertThat(kept.at("/results/tasks")).hasSize(3);
    }

    @Test
    void aTaskWithoutTestSplitIsAdaptedAllTheSame() throws IOException {
        Path some = Cli.tasks(folder);
        Files.delete(some.resolve("colour/test.jsonl"));
        var result = Cli.run("adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", some, "--output", folder.resolve("out"), "--steps", "2",
                "--optimizer", "sgd", "--json");
        assertThat(result.code()).as(result.err()).isZero();
        JsonNode first = new ObjectMapper().readTree(result.out()).at("/tasks/0");
        assertThat(first.get("task").asText()).isEqualTo("colour");
        assertThat(first.get("before").isNull()).isTrue();
        assertThat(first.get("after").isNull()).isTrue();
        assertThat(folder.resolve("out/colour/adapter_model.safetensors")).exists();
        assertThat(folder.resolve("out/echo/adapter_model.safetensors")).exists();
    }

    @Test
    void whatDivergesIsSaidAndNotWritten() throws IOException {
        var result = adapt(folder.resolve("out"), "--lr", "3e38", "--steps", "3");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("3 of 3 tasks diverged (NaN or infinity)", "colour at step 1", "lower --lr");
        assertThat(folder.resolve("out/colour")).doesNotExist();
        JsonNode kept = new ObjectMapper().readTree(folder.resolve("out/adapt.json").toFile());
        assertThat(kept.get("diverged")).hasSize(3);
        assertThat(kept.at("/results/mean_after").isNull()).isTrue();
    }

    /** Both find nothing there when they begin. */
    @Test
    void ofTwoIntoOneFolderOneIsRefused() throws Exception {
        var begin = new CyclicBarrier(2);
        Callable<Cli.Result> one = () -> {
            begin.await();
            return adapt(folder.resolve("out"), "--steps", "1");
        };
        try (var threads = Executors.newFixedThreadPool(2)) {
            var results = List.of(threads.submit(one), threads.submit(one));
            assertThat(List.of(results.get(0).get().code(), results.get(1).get().code())).containsExactlyInAnyOrder(0, 2);
            for (var result : results) {
                assertThat(result.get().err()).satisfies(err -> assertThat(err.isEmpty() || err.contains("already exists"))
                        .as(err).isTrue());
            }
        }
    }

    /** Adapters that are finite, but too large to compute with. */
    @Test
    void anEvaluationThatFailsLosesNoAdapter() throws IOException {
        var result = adapt(folder.resolve("out"), "--lr", "1e9", "--steps", "1");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("NaN or infinity", "train at a lower rate",
                "3 of 3 tasks have an adapter in " + folder.resolve("out"));
        JsonNode kept = new ObjectMapper().readTree(folder.resolve("out/adapt.json").toFile());
        assertThat(kept.get("complete").asBoolean()).isFalse();
        assertThat(kept.at("/results/mean_after").isNull()).isTrue();
        assertThat(kept.at("/results/tasks/0/before").isNumber()).isTrue();
    }

    /** One that is too large before anything is adapted is bad input: no folder is left in the way of the next try. */
    @Test
    void anAdapterThatCannotBeComputedWithLeavesNoFolder() throws IOException {
        Path broken = Files.createDirectory(folder.resolve("broken"));
        Files.copy(adapter.resolve("adapter_config.json"), broken.resolve("adapter_config.json"));
        var tensors = new TreeMap<String, HostTensor>();
        try (var in = Safetensors.open(adapter.resolve("adapter_model.safetensors"))) {
            for (String name : in.names()) {
                float[] values = in.tensor(name).toFloats();
                Arrays.fill(values, 3e38f);
                tensors.put(name, HostTensor.of(name, values, in.tensor(name).shape()));
            }
            Safetensors.write(broken.resolve("adapter_model.safetensors"), tensors, Map.of());
        }
        Path output = folder.resolve("out");
        var result = Cli.run("adapt", "--model", Cli.model(), "--adapter", broken, "--tasks", tasks, "--output", output, "--steps", "1");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("the adapter's values are too large");
        assertThat(result.out()).isEmpty();
        assertThat(output).doesNotExist();
    }

    @Test
    void badInputIsRefusedAndNothingIsWritten() throws IOException {
        refused("--samples is 25, but of the tasks in " + tasks + " colour has 24", "--samples", "25");
        refused("--steps takes the place of --epochs", "--steps", "1", "--epochs", "1");
        refused("--epochs is 0", "--epochs", "0");
        refused("'1e9' is not a whole number", "--epochs", "1e9");
        refused("'9223372036854775808' is not between", "--steps", "9223372036854775808");
        refused("--batch-size is -1", "--batch-size", "-1");
        refused("--lr is 0.0", "--lr", "0");
        refused("'nan' is not a number", "--lr", "nan");
        refused("--optimizer", "--optimizer", "adam");
        var inside = adapt(tasks.resolve("adapted"));
        assertThat(inside.code()).isEqualTo(2);
        assertThat(inside.err()).contains("one is inside the other", "give another --output");
        assertThat(tasks.resolve("adapted")).doesNotExist();
        Files.createDirectories(folder.resolve("there"));
        var exists = adapt(folder.resolve("there"));
        assertThat(exists.code()).isEqualTo(2);
        assertThat(exists.err()).contains("already exists");
        var run = Cli.run("adapt", "--model", Cli.model(), "--adapter", shared.resolve("run"), "--tasks", tasks, "--output", folder.resolve("out"));
        assertThat(run.code()).isEqualTo(2);
        assertThat(run.err()).contains("this run's adapter is " + adapter);
        Path none = Cli.tasks(folder);
        Files.delete(none.resolve("echo/train.jsonl"));
        var empty = Cli.run("adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", none, "--output", folder.resolve("out"));
        assertThat(empty.code()).isEqualTo(2);
        assertThat(empty.err()).contains("task echo", "no train.jsonl");
        assertThat(folder.resolve("out")).doesNotExist();
    }

    private void refused(String message, Object... options) {
        var result = adapt(folder.resolve("out"), options);
        assertThat(result.code()).as(message).isEqualTo(2);
        assertThat(result.err()).contains(message);
        assertThat(folder.resolve("out")).doesNotExist();
    }
}
