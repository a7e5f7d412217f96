package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The protocol of the paper's setting, whole but with few iterations, on a small random Llama and tasks like those it is for. */
class PaperProtocolTest {

    private static final Path PROTOCOL = Path.of("..", "..", "bench", "protocols", "paper.yaml");
    private static final List<String> ANSWERS = List.of(" yes", " no");

    @TempDir
    Path folder;

    /** Instructions have train and test splits, of one task with open answers. */
    private Path instructions() throws IOException {
        Path tasks = folder.resolve("instructions");
        for (int task = 0; task < 5; task++) {
            for (var split : List.of("train", "test")) {
                var lines = new ArrayList<String>();
                for (int i = 0; i < (split.equals("train") ? 155 : 4); i++) {
                    String answer = task == 0 ? " " + split + i : ANSWERS.get((i + task) % 2);
                    lines.add(line("do " + task + " with " + split + i, answer));
                }
                write(tasks.resolve("task-" + task).resolve(split + ".jsonl"), lines);
            }
        }
        return tasks;
    }

    /** BBH has test splits alone. */
    private Path unseen() throws IOException {
        Path tasks = folder.resolve("bbh");
        for (var task : List.of("navigate", "snarks", "word_sorting")) {
            var lines = new ArrayList<String>();
            for (int i = 0; i < 6; i++) {
                lines.add(line("Q: " + task + i + "\\nA:", task.equals("word_sorting") ? " a b " + i : ANSWERS.get(i % 2)));
            }
            write(tasks.resolve(task).resolve("test.jsonl"), lines);
        }
        return tasks;
    }

    private static String line(String prompt, String completion) {
        return "{\"prompt\": \"" + prompt + "\", \"completion\": \"" + completion + "\"}";
    }

    private static void write(Path file, List<String> lines) throws IOException {
        Files.createDirectories(file.getParent());
        Files.write(file, lines);
    }

    /** With two iterations, one epoch and two seeds; nothing else of it changes. */
    private Path shortened() throws IOException {
        String text = Files.readString(PROTOCOL);
        for (var change : List.of(List.of("iterations: [0-9]+", "iterations: 2"),
                List.of("epochs: [0-9]+, batch_size: [0-9]+", "epochs: 1, batch_size: 64"),
                List.of("seeds: \\[.*]", "seeds: [1, 2]"), List.of("dev_items: 50", "dev_items: 4"))) {
            assertThat(text).containsPattern(Pattern.compile(change.getFirst()));
            text = text.replaceAll(change.getFirst(), change.getLast());
        }
        return Files.writeString(folder.resolve("paper.yaml"), text);
    }

    @Test
    void runsFromEndToEndOnASmallRandomModel() throws IOException {
        Path output = folder.resolve("results");

        Cli.Result run = Cli.run("compare", shortened(), "--model", Cli.model(), "--tasks", instructions(), "--unseen", unseen(),
                "--output", output, "--device", "cpu", "--threads", "2");

        assertThat(run.code()).as(run.err()).isZero();
        JsonNode results = CompareFixture.results(output);
        assertThat(results.get("rows")).hasSize(2 * 8);
        assertThat(results.get("rows")).allSatisfy(row -> {
            assertThat(row.get("on").asText()).isIn("trained", "unseen");
            assertThat(row.get("diverged")).isEmpty();
        });
        assertThat(results.get("questions")).hasSize(10);
    }
}
