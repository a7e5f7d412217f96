package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.task.ContentSplit;
import io.metalora.task.TaskFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DataSplitTest {

    private static final String[] SETTINGS = {"data.split.dev=0.2", "data.split.test=0.3", "data.names=[colour,echo]"};

    @TempDir
    private Path folder;

    private static Path tasksWithTrainAlone(Path folder) throws IOException {
        Path tasks = Cli.tasks(folder);
        for (String task : List.of("colour", "side", "echo")) {
            Files.delete(tasks.resolve(task).resolve("dev.jsonl"));
            Files.delete(tasks.resolve(task).resolve("test.jsonl"));
        }
        return tasks;
    }

    private static JsonNode json(Cli.Result result) throws IOException {
        assertThat(result.code()).as(result.err()).isZero();
        return new ObjectMapper().readTree(result.out());
    }

    @Test
    void aRunItsEvaluationAndItsPreviewHaveOneSplit() throws IOException {
        Path tasks = tasksWithTrainAlone(folder);
        Path config = Cli.config(folder, tasks, folder.resolve("run"));
        var trained = Cli.run("train", config, SETTINGS[0], SETTINGS[1], SETTINGS[2]);
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(trained.out()).contains("colour", "echo");

        var expected = new ContentSplit(0.2, 0.3).of(TaskFolder.read(tasks, List.of("colour", "echo")));
        JsonNode preview = json(Cli.run("preview", config, SETTINGS[0], SETTINGS[1], SETTINGS[2], "--json"));
        for (int i = 0; i < 2; i++) {
            assertThat(preview.at("/tasks/" + i + "/splits/0/samples").asInt()).isEqualTo(expected.get(i).train().size());
            assertThat(preview.at("/tasks/" + i + "/splits/1/samples").asInt()).isEqualTo(expected.get(i).dev().size());
            assertThat(preview.at("/tasks/" + i + "/splits/2/samples").asInt()).isEqualTo(expected.get(i).test().size());
        }
        for (String split : List.of("dev", "test")) {
            JsonNode tested = json(Cli.run("eval", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", tasks,
                    "--split", split, "--json"));
            assertThat(tested.at("/tasks/0/items").asInt()).isEqualTo((split.equals("dev") ? expected.get(0).dev() : expected.get(0).test()).size());
        }
    }

    /** With another column as the prompt, the split would be another one, and its test items would be trained on. */
    @Test
    void columnsAreThoseOfTheRun() throws IOException {
        Path tasks = tasksWithTrainAlone(folder);
        for (String task : List.of("colour", "side", "echo")) {
            Path train = tasks.resolve(task).resolve("train.jsonl");
            Files.writeString(train, Files.readString(train).replace("\"prompt\"", "\"question\""));
        }
        Path config = Cli.config(folder, tasks, folder.resolve("run"));
        var trained = Cli.run("train", config, SETTINGS[0], SETTINGS[1], SETTINGS[2], "data.columns.prompt=question", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        int test = json(Cli.run("preview", config, SETTINGS[0], SETTINGS[1], SETTINGS[2], "data.columns.prompt=question", "--json"))
                .at("/tasks/0/splits/2/samples").asInt();
        JsonNode tested = json(Cli.run("eval", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", tasks, "--json"));
        assertThat(tested.at("/tasks/0/items").asInt()).isEqualTo(test).isPositive();
        JsonNode adapted = json(Cli.run("adapt", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", tasks, "--samples",
                "all", "--epochs", "1", "--output", folder.resolve("adapted"), "--json"));
        assertThat(adapted.at("/tasks/0/samples").asInt()).isLessThanOrEqualTo(24 - test);
    }

    @Test
    void otherTasksAreEvaluatedAsTheyLie() throws IOException {
        Path tasks = tasksWithTrainAlone(folder);
        Path config = Cli.config(folder, tasks, folder.resolve("run"));
        assertThat(Cli.run("train", config, SETTINGS[0], SETTINGS[1], SETTINGS[2], "--no-eval").code()).isZero();
        Path others = tasksWithTrainAlone(Files.createDirectory(folder.resolve("others")));
        JsonNode tested = json(Cli.run("eval", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", others, "--split",
                "train", "--json"));
        assertThat(tested.at("/tasks/0/items").asInt()).isEqualTo(24);
    }

    @Test
    void sharesThatLeaveNothingToTrainOnAreRefused() throws IOException {
        Path config = Cli.config(folder, tasksWithTrainAlone(folder), folder.resolve("run"));
        var result = Cli.run("train", config, "data.split.dev=0.5", "data.split.test=0.5");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("data.split.test is 0.5, but together with data.split.dev it must be below 1");
        assertThat(Cli.run("train", config, "data.split.dev=-1").err()).contains("data.split.dev is -1.0, but must be at least 0 and below 1");
        assertThat(folder.resolve("run")).doesNotExist();
    }
}
