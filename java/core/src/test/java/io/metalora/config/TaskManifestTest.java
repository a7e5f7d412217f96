package io.metalora.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.ReadOptions;
import io.metalora.task.Task;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TaskManifestTest {

    @TempDir
    Path folder;

    @BeforeEach
    void files() throws IOException {
        Files.createDirectory(folder.resolve("data"));
        Files.writeString(folder.resolve("data/a.csv"), "source,target,n\nHaus,house {x},1\n");
        Files.writeString(folder.resolve("data/b.jsonl"), "{\"source\": \"Hund\", \"target\": \"dog\", \"n\": 2}\n");
        Files.writeString(folder.resolve("qa.jsonl"), "{\"q\": \"Q\", \"a\": \"A\"}\n");
    }

    private List<Task> read(String yaml, String... names) throws IOException {
        return TaskSource.read(Files.writeString(folder.resolve("tasks.yaml"), yaml), List.of(names), ReadOptions.NONE);
    }

    private static final String TASKS = """
            translate:
              train: [data/a.csv, data/b.jsonl]
              test: data/b.jsonl
              prompt: "{n} {{of}}: {source}"
              completion: " {target}"
            qa:
              train: qa.jsonl
              columns: {prompt: q, completion: a}
            """;

    @Test
    void namesTasksWithTheirFilesColumnsAndTexts() throws IOException {
        List<Task> tasks = read(TASKS);

        assertThat(tasks).extracting(Task::name).containsExactly("qa", "translate");
        assertThat(tasks.get(0).train()).containsExactly(new Example("Q", "A", folder.resolve("qa.jsonl") + ":1"));
        assertThat(tasks.get(1).train()).containsExactly(new Example("1 {of}: Haus", " house {x}", folder.resolve("data/a.csv") + ":2"),
                new Example("2 {of}: Hund", " dog", folder.resolve("data/b.jsonl") + ":1"));
        assertThat(tasks.get(1).test()).hasSize(1);
        assertThat(tasks.get(1).dev()).isEmpty();
        assertThat(read(TASKS, "qa")).extracting(Task::name).containsExactly("qa");
        assertThatThrownBy(() -> read(TASKS, "qo")).isInstanceOf(InputException.class).hasMessageContaining("names no task \"qo\"; it has translate, qa");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {train: data/none.jsonl}                            | :2: train: FOLDER/data/none.jsonl: no such file
            {trian: qa.jsonl}                                   | :2: unknown key "trian"; did you mean "train"?
            {columns: {prompt: q}}                              | :2: task "t" has no files
            {train: qa.jsonl, prompt: "{q}"}                    | :2: task "t" has a text for the prompt alone
            {train: qa.jsonl, columns: {promt: q}}              | :2: unknown key "promt"
            {train: qa.jsonl, columns: {prompt: q, output: a}}  | :2: columns of several forms
            {train: {}}                                         | :2: train must be a file
            qa.jsonl                                            | :2: task "t" must have keys
            {train: qa.jsonl, train: qa.jsonl}                  | :2: "train" is there a second time
            """)
    void whatIsWrongIsToldWithItsLine(String task, String message) {
        assertThatThrownBy(() -> read("# tasks\nt: " + task + "\n")).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("tasks.yaml") + message.replace("FOLDER", folder.toString()));
    }

    @Test
    void aTextNamesWhatRecordsHave() {
        assertThatThrownBy(() -> read("t:\n  train: qa.jsonl\n  prompt: '{source}'\n  completion: '{a}'\n")).isInstanceOf(InputException.class)
                .hasMessage(folder.resolve("qa.jsonl") + ":1: there is no \"source\", which the task's text names; there are q, a");
        assertThatThrownBy(() -> read("# nothing\n")).isInstanceOf(InputException.class).hasMessageContaining("names no task");
        assertThatThrownBy(() -> read("../t: {train: qa.jsonl}")).isInstanceOf(InputException.class).hasMessageContaining("can't be the name of a task");
    }
}
