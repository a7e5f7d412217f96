package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Protocols for the embedded model whose arms no other test runs, whole but with few iterations, on a small random Llama. */
class EmbeddedProtocolsTest {

    private static final Path PROTOCOLS = Path.of("..", "..", "bench", "protocols");
    private static final List<String> TASKS = List.of("one", "two", "three", "four");
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    /** Each with more training samples than the 100 that arms on few take. */
    private Path tasks() throws IOException {
        Path tasks = folder.resolve("tasks");
        for (String task : TASKS) {
            for (String split : List.of("train", "dev", "test")) {
                var lines = new ArrayList<String>();
                for (int i = 0; i < (split.equals("train") ? 108 : 4); i++) {
                    lines.add("{\"prompt\": \"%s %s%d is\", \"completion\": \"%s\"}".formatted(task, split, i,
                            i % 2 == 0 ? " yes" : " no"));
                }
                Files.write(Files.createDirectories(tasks.resolve(task)).resolve(split + ".jsonl"), lines);
            }
        }
        return tasks;
    }

    /** With three iterations, or an epoch of few batches, and two seeds; nothing else of it changes. */
    private Path shortened(String name) throws IOException {
        String text = Files.readString(PROTOCOLS.resolve(name));
        for (List<String> change : List.of(List.of("iterations: [0-9]+", "iterations: 3"),
                List.of("epochs: [0-9]+, batch_size: [0-9]+", "epochs: 1, batch_size: 64"),
                List.of("seeds: \\[.*]", "seeds: [1, 2]"))) {
            assertThat(text).containsPattern(change.getFirst());
            text = text.replaceAll(change.getFirst(), change.getLast());
        }
        return Files.writeString(folder.resolve(name), text);
    }

    private Path compared(String name, Path tasks) throws IOException {
        Path output = folder.resolve("results");
        Cli.Result run = Cli.run("compare", shortened(name), "--model", Cli.model(), "--tasks", tasks, "--output", output,
                "--device", "cpu", "--threads", "2");
        assertThat(run.code()).as(run.err()).isZero();
        return output;
    }

    private static JsonNode cell(Path output, String arm) throws IOException {
        return JSON.readTree(output.resolve("cells").resolve(arm).resolve("seed-1.json").toFile());
    }

    /** The only run of seed 1 whose settings have all of these. */
    private static Path run(Path output, String... settings) throws IOException {
        try (var runs = Files.list(output.resolve("runs"))) {
            var found = new ArrayList<Path>();
            for (Path run : runs.toList()) {
                String config = Files.readString(run.resolve("config.resolved.yaml"));
                if (config.contains("\nseed: 1\n")
                        && Arrays.stream(settings).allMatch(setting -> config.contains(" " + setting + "\n"))) {
                    found.add(run);
                }
            }
            assertThat(found).as(List.of(settings).toString()).hasSize(1);
            return found.getFirst();
        }
    }

    @Test
    void oneAAndManyBOnFewAndOnAllTrainedJointlyAndByMetaLora() throws IOException {
        Path tasks = tasks();
        Path output = compared("embedded-asymmetric.yaml", tasks);
        JsonNode results = CompareFixture.results(output);
        assertThat(results.get("rows")).hasSize(13).allSatisfy(row -> {
            assertThat(row.get("diverged")).isEmpty();
            assertThat(row.get("mean_accuracy").isNumber()).isTrue();
        });
        assertThat(results.get("questions")).hasSize(13).allSatisfy(question ->
                assertThat(question.get("points").isNumber()).isTrue());
        for (String kind : List.of("joint", "asymmetric", "mixture")) {
            long few = cell(output, kind + "-few").at("/training/tokens").asLong();
            long all = cell(output, kind + "-all").at("/training/tokens").asLong();
            assertThat(all).as(kind + ", an epoch of 108 samples a task and of 50").isCloseTo(few * 108 / 50, within(few / 10));
        }

        for (String part : List.of("joint-lora", "meta-lora")) {
            Path mixture = run(output, part, "kind: mixture", "samples_per_task: 50").resolve("adapter");
            try (var file = Safetensors.open(mixture.resolve("adapter_model.safetensors"))) {
                assertThat(file.names()).anyMatch(name -> name.endsWith("lora_B3.weight"))
                        .noneMatch(name -> name.endsWith("lora_B4.weight"));
            }
            answersAs(cell(output, part.equals("joint-lora") ? "mixture-few" : "meta-mixture-few"), mixture, tasks);
        }
        // Of the joint ones every task has its own file, with one A.
        Path own = run(output, "asymmetric-lora", "samples_per_task: 50").resolve("adapters");
        try (var one = Safetensors.open(own.resolve("one/adapter_model.safetensors"));
                var two = Safetensors.open(own.resolve("two/adapter_model.safetensors"))) {
            for (String name : one.names()) {
                assertThat(Arrays.equals(one.tensor(name).toFloats(), two.tensor(name).toFloats())).as(name)
                        .isEqualTo(name.contains("lora_A"));
            }
        }
    }

    private static void answersAs(JsonNode cell, Path adapter, Path tasks) throws IOException {
        Cli.Result eval = Cli.run("eval", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--json",
                "--threads", "2");
        assertThat(eval.code()).as(eval.err()).isZero();
        JsonNode answered = JSON.readTree(eval.out()).get("tasks");
        assertThat(answered).hasSize(TASKS.size());
        for (JsonNode task : answered) {
            String correct = cell.at("/rows/0/correct").path(task.get("task").asText()).asText();
            assertThat(correct).hasSize(4);
            assertThat(task.get("accuracy").asDouble()).isCloseTo(correct.chars().filter(c -> c == '1').count() / 4.0,
                    within(1e-12));
        }
    }

    @Test
    void everyArmIsMeasuredOnItsWayToWhereTheOthersEnd() throws IOException {
        Path output = compared("embedded-time.yaml", tasks());
        JsonNode tracks = CompareFixture.results(output).get("tracks");
        assertThat(tracks.findValuesAsText("arm")).containsExactly("joint-all", "mixture-all", "joint-50", "joint-100",
                "meta-50", "meta-100");
        assertThat(tracks).allSatisfy(track -> assertThat(track.findValuesAsText("end_of")).hasSize(5));
        String page = Files.readString(output.resolve("report.html"));
        assertThat(page).contains("Tokens until another arm", "Accuracy along training");
    }
}
