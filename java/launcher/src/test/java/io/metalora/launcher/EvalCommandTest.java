package io.metalora.launcher;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.eval.TaskEvaluator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EvalCommandTest {

    @TempDir
    private Path folder;

    private Path manyTasks() throws IOException {
        Path tasks = Cli.tasks(folder);
        for (int i = 0; i < 20; i++) {
            Path copy = Files.createDirectories(tasks.resolve("copy" + i));
            Files.copy(tasks.resolve("colour/train.jsonl"), copy.resolve("train.jsonl"));
            Files.writeString(copy.resolve("test.jsonl"), Files.readString(tasks.resolve("colour/test.jsonl")).repeat(500));
        }
        return tasks;
    }

    @Test
    void aSampleIsSaidToBeOne() throws IOException {
        Path tasks = Cli.tasks(folder);
        var all = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks);
        assertThat(all.code()).as(all.err()).isZero();
        assertThat(all.out().lines()).hasSize(1 + 3 + 1);
        var sampled = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks, "--samples", "4");
        assertThat(sampled.out()).contains("Of larger tasks 4 items were answered; --samples all answers all of them.");
        JsonNode json = new ObjectMapper().readTree(
                Cli.run("eval", "--model", Cli.model(), "--tasks", tasks, "--samples", "4", "--json").out());
        assertThat(json.at("/tasks/0/items").asInt()).isEqualTo(4);
        assertThat(json.at("/tasks/0/available").asInt()).isEqualTo(6);
        for (String wrong : new String[] {"0", "-1", "few", ""}) {
            var result = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks, "--samples", wrong);
            assertThat(result.code()).isEqualTo(2);
            assertThat(result.err()).contains("--samples", "'" + wrong + "' is neither a number from 1 on nor 'all'");
        }
    }

    @Test
    void aTasksNameBreaksNeitherTheTableNorTheTerminal() throws IOException {
        Path tasks = Cli.tasks(folder);
        Files.move(tasks.resolve("colour"), tasks.resolve("col\nour\u001b[31m"));
        var result = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks);
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out().lines()).hasSize(1 + 3 + 1);
        assertThat(result.out()).contains("col\\u000aour\\u001b[31m ").doesNotContain("\u001b");
    }

    /** Rows come as they are ready, and what nobody reads any more is not computed. */
    @Test
    void rowsComeAsTheyAreReadyAndStopWithTheirReader() throws IOException {
        Path tasks = manyTasks();
        var read = new ByteArrayOutputStream();
        var amid = new AtomicBoolean();
        var reader = new OutputStream() {
            @Override
            public void write(int b) throws IOException {
                if (read.toString(UTF_8).lines().count() > 2) {
                    amid.set(StackWalker.getInstance().walk(calls -> calls.anyMatch(call -> call.getClassName().equals(TaskEvaluator.class.getName()))));
                    throw new IOException("Broken pipe");
                }
                read.write(b);
            }
        };
        var err = new ByteArrayOutputStream();
        int code = Main.run(new String[] {"eval", "--model", Cli.model().toString(), "--tasks", tasks.toString()}, reader, err);
        assertThat(code).as(err.toString(UTF_8)).isEqualTo(141);
        assertThat(err.size()).isZero();
        assertThat(read.toString(UTF_8).lines().limit(2)).satisfiesExactly(line -> assertThat(line).startsWith("task"),
                line -> assertThat(line).startsWith("colour"));

        assertThat(amid).as("ended while there were items to answer").isTrue();

        var whole = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks);
        assertThat(whole.out()).as("the table is that of its rows").startsWith(read.toString(UTF_8).lines().findFirst().orElseThrow());
        assertThat(whole.out().lines().map(line -> line.indexOf(" %")).filter(at -> at >= 0).distinct()).as("in columns").hasSize(1);
    }

    @Test
    void aSignalLeavesTheRowsThatAreThere() throws IOException, InterruptedException {
        Path tasks = manyTasks();
        Process process = JavaProcess.start(folder, List.of(), "eval", "--model", Cli.model(), "--tasks", tasks);
        Path out = folder.resolve("out");
        while (process.isAlive() && Files.size(out) == 0) {
            Thread.sleep(5);
        }
        JavaProcess.signal(process, "TERM");
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(143);
        assertThat(stopped.err()).containsPattern("stopped: \\d+ of 23 tasks are evaluated");
        assertThat(stopped.out()).startsWith("task").contains("colour").doesNotContain("mean");
    }

    private static boolean hasThread(Process process, String name) throws IOException {
        try (var threads = Files.list(Path.of("/proc/" + process.pid() + "/task"))) {
            for (Path thread : threads.toList()) {
                if (Files.readString(thread.resolve("comm")).strip().equals(name)) {
                    return true;
                }
            }
        } catch (NoSuchFileException | UncheckedIOException e) {
            // A thread has ended meanwhile.
        }
        return false;
    }

    /** Finished tasks are not thrown away, and who reads them can tell that there are more. */
    @Test
    void aSignalLeavesTheTasksThatAreDoneAsJson() throws IOException, InterruptedException {
        Path tasks = manyTasks();
        Process process = JavaProcess.start(folder, List.of(), "eval", "--model", Cli.model(), "--tasks", tasks, "--json");
        while (process.isAlive() && !hasThread(process, "progress")) { // which begins with the evaluation
            Thread.sleep(5);
        }
        Thread.sleep(200); // for some answers; none would do too
        JavaProcess.signal(process, "INT");
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(130);
        JsonNode json = new ObjectMapper().readTree(stopped.out());
        assertThat(json.get("complete").asBoolean(true)).isFalse();
        int done = json.get("tasks").size();
        assertThat(stopped.err()).contains("stopped: " + done + " of 23 tasks are evaluated");
        assertThat(json.get("mean_accuracy").isNull()).isEqualTo(done == 0);

        JsonNode whole = new ObjectMapper().readTree(Cli.run("eval", "--model", Cli.model(), "--tasks", tasks, "--json").out());
        assertThat(whole.get("complete").asBoolean()).isTrue();
        for (int i = 0; i < done; i++) {
            assertThat(json.get("tasks").get(i)).isEqualTo(whole.get("tasks").get(i));
        }
    }
}
