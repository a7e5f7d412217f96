package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.config.CompositionRule;
import io.metalora.config.TrainConfig;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Runs whose tasks are composed, and their gradients weighed, in other ways than by default; and runs that repeat another's draws. */
class CompositionRunTest {


    @TempDir
    private Path folder;

    private Path tasks;

    @BeforeEach
    void tasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
        // Unequal sizes, and four tasks to choose from.
        Path more = Files.createDirectories(tasks.resolve("more"));
        Files.writeString(more.resolve("train.jsonl"), Files.readString(tasks.resolve("add/train.jsonl")) + Files.readString(tasks.resolve("copy/train.jsonl")));
    }

    private Path run(String name, String... overrides) {
        Path output = folder.resolve(name);
        TrainingRun.start(RunFixture.config(tasks, output, overrides), TrainListener.SILENT, () -> false);
        return output;
    }

    private static void requireSame(Path run, Path other) throws IOException {
        assertThat(Files.mismatch(run.resolve("adapter/adapter_model.safetensors"), other.resolve("adapter/adapter_model.safetensors"))).isEqualTo(-1);
        assertThat(RunFixture.metrics(run)).isEqualTo(RunFixture.metrics(other));
    }

    private static List<JsonNode> draws(Path run) throws IOException {
        var lines = new ArrayList<JsonNode>();
        for (String line : Files.readAllLines(run.resolve("draws.jsonl"))) {
            JsonNode node = new ObjectMapper().readTree(line);
            if (node.has("draws")) {
                lines.add(node);
            }
        }
        return lines;
    }

    @ParameterizedTest
    @EnumSource(CompositionRule.class)
    void aRunThatWasStoppedGoesOnWithTheSameBits(CompositionRule rule) throws IOException {
        String[] settings = {"meta.composition=" + rule.name().toLowerCase(Locale.ROOT), "meta.composition_temperature=0.2", "meta.aggregation=pcgrad"};
        Path straight = run("straight", settings);
        int[] passes = {0};
        Path stopped = folder.resolve("stopped");
        var outcome = TrainingRun.start(RunFixture.config(tasks, stopped, settings), TrainListener.SILENT, () -> ++passes[0] > 17);
        assertThat(outcome.interrupted()).isTrue();
        assertThat(outcome.done()).isBetween(1L, 7L);
        TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        requireSame(stopped, straight);
        assertThat(Files.mismatch(stopped.resolve("draws.jsonl"), straight.resolve("draws.jsonl"))).isEqualTo(-1);
        for (JsonNode line : draws(straight)) {
            for (JsonNode draw : line.get("draws")) {
                assertThat(draw.get("probability").asDouble()).isBetween(0.0, 1.0);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"weighted", "pcgrad", "cagrad", "mgda"})
    void everyAggregationTrainsAndComesToAnotherAdapterThanTheMean(String rule) throws IOException {
        Path mean = run("mean");
        Path other = run("other", "meta.aggregation=" + rule);
        assertThat(Files.mismatch(mean.resolve("adapter/adapter_model.safetensors"), other.resolve("adapter/adapter_model.safetensors"))).isNotEqualTo(-1);
        requireSame(run("again", "meta.aggregation=" + rule), other);
    }

    @Test
    void aReplayRepeatsTheDrawsOfAnotherRun() throws IOException {
        Path first = run("first", "meta.composition=loss");
        Path log = first.resolve("draws.jsonl");
        Path same = run("same", "meta.replay=" + log);
        assertThat(Files.mismatch(first.resolve("adapter/adapter_model.safetensors"), same.resolve("adapter/adapter_model.safetensors"))).isEqualTo(-1);
        Path shorter = run("shorter", "meta.replay=" + log, "meta.iterations=5", "optimizer.lr=5e-3");
        assertThat(draws(shorter)).hasSize(5);
        for (int i = 0; i < 5; i++) {
            for (int j = 0; j < 2; j++) {
                JsonNode drawn = draws(shorter).get(i).at("/draws/" + j);
                JsonNode was = draws(first).get(i).at("/draws/" + j);
                for (String key : List.of("task", "support", "query")) {
                    assertThat(drawn.get(key)).isEqualTo(was.get(key));
                }
            }
        }
    }

    @Test
    void aReplayThatWasStoppedGoesOnFromItsOwnCopy() throws IOException {
        Path log = folder.resolve("log.jsonl");
        Files.copy(run("first").resolve("draws.jsonl"), log);
        Path straight = run("straight", "meta.replay=" + log);
        int[] passes = {0};
        Path stopped = folder.resolve("stopped");
        TrainingRun.start(RunFixture.config(tasks, stopped, "meta.replay=" + log), TrainListener.SILENT, () -> ++passes[0] > 17);
        Files.delete(log);
        Path copy = stopped.resolve("replay.jsonl");
        byte[] whole = Files.readAllBytes(copy);
        Files.writeString(copy, Files.readString(copy).replace("\"iteration\":8,", "\"iteration\":8 ,"));
        assertThatThrownBy(() -> TrainingRun.resume(stopped, TrainListener.SILENT, () -> false)).isInstanceOf(InputException.class)
                .hasMessageContaining("does not hold the draws that the run began to repeat");
        Files.write(copy, whole);
        TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);
        requireSame(stopped, straight);
    }

    @Test
    void aLogOfOtherDrawsIsRefusedAndNothingIsWritten() throws IOException {
        Path log = run("first").resolve("draws.jsonl");
        String text = Files.readString(log);
        refused(log, "meta.iterations, which is 9", "meta.iterations=9");
        refused(log, ":5: it has 2 support samples of task", "meta.support_size=3", "data.names=[add, copy, upper, more]");
        refused(log, "it has the draws of 2 tasks, but meta.tasks_per_iteration is 3", "meta.tasks_per_iteration=3");
        refused(log, ":2: it draws from task \"copy\", which is none of this run's", "data.names=[add, more, upper]");
        refused(log, "the training examples of task \"add\" are not those", "data.samples_per_task=8");
        refused(write(text.replaceFirst("\"query\":\\[\\d+", "\"query\":[99")), "it draws sample \"99\" of task");
        refused(write(text.replaceFirst("\"query\":\\[\\d+", "\"query\":[3.7")), "it draws sample \"3.7\" of task");
        refused(write(text.replaceFirst("\"query\":\\[(\\d+),\\d+\\]", "\"query\":{\"a\":$1,\"b\":2}")), "it has 2 query samples");
        refused(write(text.replaceFirst("\"query\":\\[(\\d+),\\d+\\]", "\"query\":[$1,$1]")), "or a sample of it, twice");
        refused(write(text.replace("{\"iteration\":1,", "{\"iteration\":1,\"iteration\":1,")), "the line is damaged");
        refused(write(text.substring(text.indexOf('\n') + 1)), "of whose samples the log has no line");
        refused(write(text.substring(0, text.length() - 5)), "the line is damaged");
        refused(write(text.replace("\"iteration\":2", "\"iteration\":3")), "must be that of iteration 2");
        refused(folder.resolve("none.jsonl"), "none.jsonl can't be read: no such file");
        refused(tasks, "tasks");
        assertThatThrownBy(() -> run("whole", "meta.composition=size", "meta.tasks_per_iteration=4")).isInstanceOf(InputException.class)
                .hasMessageContaining("meta.tasks_per_iteration takes all 4 of them");
        assertThatThrownBy(() -> TrainConfig.of("method=joint-lora", "meta.replay=x")).hasMessageContaining("meta-lora alone");
    }

    private Path write(String text) throws IOException {
        return Files.writeString(folder.resolve("log.jsonl"), text);
    }

    private void refused(Path log, String message, String... overrides) {
        var settings = new ArrayList<>(List.of(overrides));
        settings.add("meta.replay=" + log);
        Path output = folder.resolve("refused");
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, output, settings.toArray(String[]::new)), TrainListener.SILENT, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining(message);
        assertThat(output).doesNotExist();
    }
}
