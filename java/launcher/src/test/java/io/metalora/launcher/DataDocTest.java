package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TaskSource;
import io.metalora.task.Example;
import io.metalora.task.ReadOptions;
import io.metalora.task.Task;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every example of docs/data.md is read, and a run is trained and scored on the chat among them. */
class DataDocTest {

    private static final Pattern BLOCK = Pattern.compile("```(\\w+)\n(.*?)```", Pattern.DOTALL);
    private static final String TEMPLATE = "{% for m in messages %}{{ m.role[:1] + ':' + m.content + '</s>' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ 'a:' }}{% endif %}";

    @TempDir
    Path folder;

    private static List<MatchResult> blocks() throws IOException {
        return BLOCK.matcher(Files.readString(Path.of("../../docs/data.md"))).results().toList();
    }

    private Path model() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Files.writeString(model.resolve("chat_template.jinja"), TEMPLATE);
        return model;
    }

    @Test
    void everyExampleIsRead() throws IOException {
        List<MatchResult> blocks = blocks();
        assertThat(blocks.stream().map(block -> block.group(1)).collect(Collectors.joining(" "))).isEqualTo("jsonl csv jsonl json json yaml csv");
        ReadOptions options = ReadOptions.of(model());
        for (int i = 0; i < 5; i++) {
            Path task = Files.createDirectories(folder.resolve("tasks/task" + i));
            Files.writeString(task.resolve("train." + blocks.get(i).group(1)), blocks.get(i).group(2));
        }
        Files.writeString(folder.resolve("words.csv"), blocks.get(6).group(2));
        Files.writeString(folder.resolve("more.csv"), blocks.get(6).group(2));
        Path manifest = Files.writeString(folder.resolve("tasks.yaml"), blocks.get(5).group(2));

        List<Task> tasks = TaskSource.read(folder.resolve("tasks"), List.of(), options);
        assertThat(tasks).extracting(task -> task.train().size()).containsExactly(2, 2, 2, 2, 2);
        assertThat(tasks).extracting(task -> task.train().getFirst().completion()).containsExactly(" house", " yes", "4", "4", "house");
        assertThat(tasks.get(1).train().getFirst().prompt()).isEqualTo("Is \"gift\" German, too?");
        assertThat(tasks.get(2).train().get(1).chat().turns()).hasSize(2);

        List<Task> named = TaskSource.read(manifest, List.of(), options);
        assertThat(named).extracting(Task::name).containsExactly("spelling", "translation");
        assertThat(named.get(1).train()).extracting(Example::prompt).containsExactly("Translate: Haus =>", "Translate: Hund =>", "Translate: Haus =>",
                "Translate: Hund =>");
    }

    @Test
    void chatIsTrainedEvaluatedAndScored() throws IOException {
        Path model = model();
        String chat = blocks().get(2).group(2);
        for (String task : List.of("a", "b")) {
            Files.createDirectories(folder.resolve("chat").resolve(task));
            Files.writeString(folder.resolve("chat").resolve(task).resolve("train.jsonl"), chat.repeat(3));
            Files.writeString(folder.resolve("chat").resolve(task).resolve("test.jsonl"), chat);
        }
        var trained = Cli.run("train", "model=" + model, "output=" + folder.resolve("run"), "data.folder=" + folder.resolve("chat"),
                "meta.iterations=2", "meta.tasks_per_iteration=2", "meta.support_size=2", "meta.query_size=2", "adapter.rank=2");
        assertThat(trained.err()).doesNotContain("error");
        assertThat(trained.code()).isZero();
        var evaluated = Cli.run("eval", "--model", model, "--adapter", folder.resolve("run/adapter"), "--tasks", folder.resolve("chat"));
        assertThat(evaluated.code()).isZero();
        var scored = Cli.run("score", "--model", model, "--data", folder.resolve("chat/a/test.jsonl"));
        assertThat(scored.code()).isZero();
        assertThat(scored.out().lines()).hasSize(2);

        var without = Cli.run("score", "--model", Cli.model(), "--data", folder.resolve("chat/a/test.jsonl"));
        assertThat(without.code()).isEqualTo(2);
        assertThat(without.err()).contains("test.jsonl:1: it is a conversation, but the model in ").contains("has no chat template");
    }
}
