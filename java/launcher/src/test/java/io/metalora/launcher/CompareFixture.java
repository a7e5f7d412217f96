package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** A small protocol with an arm of every kind, and its tasks. */
final class CompareFixture {

    private CompareFixture() {
    }

    /** Those of {@link Cli#tasks}, but for one whose splits have texts in common. */
    static Path tasks(Path folder) throws IOException {
        Path tasks = Cli.tasks(folder);
        for (String split : List.of("dev", "test")) {
            var echo = new StringBuilder();
            for (int i = 0; i < 6; i++) {
                echo.append("{\"prompt\": \"say ").append(split).append(i).append(":\", \"completion\": \" ").append(split).append(i).append("\"}\n");
            }
            Files.writeString(tasks.resolve("echo").resolve(split + ".jsonl"), echo);
        }
        return tasks;
    }

    /** Two tasks are trained on, one is held out. */
    static Path protocol(Path folder, Path tasks) throws IOException {
        return Files.writeString(folder.resolve("protocol.yaml"), """
                title: A small comparison
                model: %s
                tasks: {trained: %s, trained_names: [colour, side], unseen_names: [echo], dev_items: 4}
                seeds: [1, 2]
                tuning_seed: 7
                trials: 2
                margin: 2
                settings: {adapter: {rank: 2, alpha: 4}, data.samples_per_task: 12, compute.checkpoint_every: 1}
                arms:
                  base:
                    on: [trained, unseen]
                  prompt: {shots: 2}
                  joint:
                    label: joint LoRA
                    train: {method: joint-lora, joint: {epochs: 2, batch_size: 8}}
                    track: 2
                    grid: [{optimizer.lr: 1e-3}, {optimizer.lr: 2e-2}]
                  asymmetric:
                    train: {method: asymmetric-lora, joint: {epochs: 2, batch_size: 8}}
                    grid: [{optimizer.lr: 1e-3}, {optimizer.lr: 2e-2}]
                  meta:
                    train: {meta: {iterations: 4, tasks_per_iteration: 2, support_size: 3, query_size: 3, inner_steps: 1, inner_lr: 0.01}}
                    track: 3
                    adapt: {samples: [4, 8], epochs: 2, choose_at: 4}
                    on: [unseen, trained]
                    grid: [{adapt.lr: 1e-3}, {optimizer.lr: 2e-2, adapt.steps: 3}]
                  nothing:
                    adapt: {samples: [8, all], epochs: 2}
                    on: [unseen]
                    grid: [{adapt.lr: 1e-3}, {adapt.lr: 2e-2}]
                questions:
                  - {ask: Is joint better than nothing done?, arm: joint, against: base, on: trained}
                  - {arm: meta, against: nothing, on: unseen, samples: 8, margin: 5}
                """.formatted(Cli.model(), tasks));
    }

    static JsonNode results(Path output) throws IOException {
        return new ObjectMapper().readTree(output.resolve("results.json").toFile());
    }

    /** Without what differs from run to run. */
    static JsonNode timeless(JsonNode results) {
        results.get("rows").forEach(row -> ((ObjectNode) row).remove(List.of("seconds", "peak_memory")));
        results.get("tracks").forEach(track -> {
            track.get("seeds").forEach(seed -> seed.forEach(point -> ((ObjectNode) point).remove("seconds")));
            track.get("until").forEach(until -> ((ObjectNode) until).remove(List.of("seconds", "seconds_share")));
        });
        return results;
    }

    /** Requires the same results, files and adapters of two comparisons by one protocol. */
    static void requireSame(Path one, Path other, String what) throws IOException {
        assertThat(timeless(results(one))).as(what).isEqualTo(timeless(results(other)));
        assertThat(names(one)).as(what).isEqualTo(names(other));
        for (String file : names(other)) {
            if (file.endsWith("adapter_model.safetensors")) {
                assertThat(Files.mismatch(one.resolve(file), other.resolve(file))).as(what + ": " + file).isEqualTo(-1);
            }
        }
    }

    private static Set<String> names(Path output) throws IOException {
        try (var all = Files.walk(output)) {
            return all.filter(Files::isRegularFile).map(file -> output.relativize(file).toString()).collect(Collectors.toCollection(TreeSet::new));
        }
    }
}
