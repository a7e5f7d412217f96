package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TaskFolderTest {

    private static final String LINE = "{\"prompt\": \"a\", \"completion\": \" b\"}\n";

    @TempDir
    Path folder;

    private void write(String path, String text) throws IOException {
        Path file = folder.resolve(path);
        Files.createDirectories(file.getParent());
        Files.writeString(file, text);
    }

    @Test
    void readsTasksByNameAndSplit() throws IOException {
        write("b/train.jsonl", LINE + LINE);
        write("b/test.jsonl", LINE);
        write("a/dev.jsonl", LINE);
        write("README.md", "about the tasks");
        write(".cache/x", "");

        List<Task> tasks = TaskFolder.read(folder);

        assertThat(tasks).extracting(Task::name).containsExactly("a", "b");
        assertThat(tasks.get(0).train()).isEmpty();
        assertThat(tasks.get(0).dev()).hasSize(1);
        assertThat(tasks.get(1).train()).hasSize(2);
        assertThat(tasks.get(1).test()).hasSize(1);
        assertThat(TaskFolder.read(folder, List.of("b"))).extracting(Task::name).containsExactly("b");
    }

    @Test
    void refusesAnUnknownName() throws IOException {
        write("a/train.jsonl", LINE);

        assertThatThrownBy(() -> TaskFolder.read(folder, List.of("c"))).isInstanceOf(InputException.class)
                .hasMessageContaining("no task named \"c\"; it has a");
    }

    @Test
    void refusesASplitOfAnotherName() throws IOException {
        write("a/train.jsonl", LINE);
        write("a/valid.jsonl", LINE);

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("a/valid.jsonl") + ": unknown split");
    }

    @Test
    void refusesExamplesOutsideATask() throws IOException {
        write("train.jsonl", LINE);

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("train.jsonl").toString()).hasMessageContaining("give the folder above");
    }

    @Test
    void refusesFoldersWithoutTasks() throws IOException {
        assertThatThrownBy(() -> TaskFolder.read(folder.resolve("none"))).isInstanceOf(InputException.class)
                .hasMessageContaining("no such folder");
        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageContaining("holds no tasks");
        Files.createDirectory(folder.resolve("a"));
        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageContaining("holds none of train.jsonl");
    }

    @ParameterizedTest
    @ValueSource(strings = {"dev", "val", "validation"})
    void takesEveryNameOfTheDevelopmentSplit(String name) throws IOException {
        write("a/" + name + ".jsonl", LINE);

        assertThat(TaskFolder.read(folder).getFirst().dev()).hasSize(1);
    }

    @Test
    void refusesTwoDevelopmentSplits() throws IOException {
        write("a/dev.jsonl", LINE);
        write("a/validation.jsonl", LINE);

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("a/validation.jsonl").toString()).hasMessageContaining("beside dev.jsonl");
    }

    @Test
    void refusesATaskThatIsALinkToNowhere() throws IOException {
        write("a/train.jsonl", LINE);
        Files.createSymbolicLink(folder.resolve("b"), folder.resolve("gone"));

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("b") + ": the task is a link that leads nowhere");
        assertThat(TaskFolder.read(folder, List.of("a"))).hasSize(1);
        Files.createDirectory(folder.resolve("gone"));
        write("gone/train.jsonl", LINE);
        assertThat(TaskFolder.read(folder)).extracting(Task::name).containsExactly("a", "b", "gone");
    }

    @Test
    void refusesASplitThatIsALinkToNowhere() throws IOException {
        write("a/train.jsonl", LINE);
        Files.createSymbolicLink(folder.resolve("a/test.jsonl"), folder.resolve("gone"));

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("a/test.jsonl").toString()).hasMessageContaining("a link that leads nowhere");
    }

    @ParameterizedTest
    @ValueSource(strings = {" ", "\\n\\t", "\u00a0\u3000"})
    void refusesACompletionOfWhiteSpace(String completion) throws IOException {
        write("a/train.jsonl", LINE + "{\"prompt\": \"a\", \"completion\": \"" + completion + "\"}\n");

        assertThatThrownBy(() -> TaskFolder.read(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("a/train.jsonl") + ":2: the completion is white space alone");
    }
}
