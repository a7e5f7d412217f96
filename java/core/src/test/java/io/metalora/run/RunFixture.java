package io.metalora.run;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.config.TrainConfig;
import io.metalora.train.Goldens;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Small runs on the goldens' model. */
public final class RunFixture {

    private static final ObjectMapper JSON = new ObjectMapper();

    private RunFixture() {
    }

    /** Three tasks of ten training examples each. */
    public static Path tasks(Path folder) throws IOException {
        for (String task : List.of("add", "copy", "upper")) {
            Files.createDirectories(folder.resolve(task));
            var lines = new ArrayList<String>();
            for (int i = 0; i < 10; i++) {
                String answer = switch (task) {
                    case "add" -> Integer.toString(i + 3);
                    case "copy" -> "x" + i;
                    default -> "X" + i;
                };
                ObjectNode line = JSON.createObjectNode().put("prompt", task + " x" + i + (i % 3 == 0 ? " now:" : ":"))
                        .put("completion", " " + answer);
                lines.add(JSON.writeValueAsString(line));
            }
            Files.write(folder.resolve(task).resolve("train.jsonl"), lines);
        }
        return folder;
    }

    /** A run of eight quick iterations. */
    public static TrainConfig config(Path tasks, Path output, String... overrides) {
        return TrainConfig.of("model=" + Goldens.path("tiny-llama"), "data.folder=" + tasks, "output=" + output, "seed=3",
                "adapter.rank=2", "adapter.dropout=0.1", "meta.iterations=8", "meta.tasks_per_iteration=2", "meta.support_size=2",
                "meta.query_size=2", "meta.inner_steps=2", "meta.support_after_every=3", "compute.checkpoint_every=3",
                "compute.threads=2", "compute.backend=cpu", "compute.token_budget=64").with(overrides);
    }

    /** The metrics without what the clock decides. */
    public static List<ObjectNode> metrics(Path run) throws IOException {
        var lines = new ArrayList<ObjectNode>();
        for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
            ObjectNode node = (ObjectNode) JSON.readTree(line);
            node.remove(List.of("seconds", "tokens_per_second"));
            lines.add(node);
        }
        return lines;
    }

    /**
     * Every file and folder below, with its content and the time of its last change: equal if nothing was touched. Of the
     * lock's file only the size: reading it would give away a lock of this process.
     */
    public static Map<String, String> snapshot(Path folder) throws IOException {
        var snapshot = new TreeMap<String, String>();
        try (var files = Files.walk(folder)) {
            for (Path file : files.toList()) {
                String content = !Files.isRegularFile(file) ? "folder"
                        : Files.size(file) + (file.endsWith(RunLock.FILE) ? "" : " " + Arrays.hashCode(Files.readAllBytes(file)));
                snapshot.put(folder.relativize(file).toString(),
                        content + " " + Files.getLastModifiedTime(file, LinkOption.NOFOLLOW_LINKS));
            }
        }
        return snapshot;
    }

    /** A copy of a flat folder, to be changed. */
    public static Path copy(Path from, Path to) throws IOException {
        Files.createDirectories(to);
        try (var files = Files.list(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(file.getFileName()));
            }
        }
        return to;
    }

    public static byte[] adapter(Path run) throws IOException {
        return Files.readAllBytes(run.resolve("adapter").resolve("adapter_model.safetensors"));
    }
}
