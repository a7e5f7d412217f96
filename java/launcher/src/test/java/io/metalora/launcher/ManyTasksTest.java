package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.OperatingSystemMXBean;
import io.metalora.files.JavaCommand;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Work on many tiny tasks takes time and memory in proportion to them. */
class ManyTasksTest {

    private static final int FEW = 500;
    private static final int TIMES = 4;
    private static final int ROUNDS = 3;

    /** In proportion it would be {@link #TIMES} at most, with work that is the same for both; squared, four times that. */
    private static final double MOST = 1.75 * TIMES;

    @TempDir
    private Path folder;

    /** Runs in a virtual machine of their own: its processor time hardly depends on what else the machine does. */
    static final class Runs {

        private Runs() {
        }

        /** With the model, the two folders of tasks, and one for the runs: prints the processor time of each, in nanoseconds. */
        public static void main(String[] args) {
            Path runs = Path.of(args[3]);
            run(args, 1, runs.resolve("warm-up"));
            for (int round = 0; round < ROUNDS; round++) {
                long few = run(args, 1, runs.resolve("few-" + round));
                System.out.println(few + " " + run(args, 2, runs.resolve("many-" + round)));
            }
        }

        private static long run(String[] args, int tasks, Path run) {
            var os = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            long before = os.getProcessCpuTime();
            require("train", "model=" + args[0], "data.folder=" + args[tasks], "output=" + run, "adapter.rank=2",
                    "meta.support_size=2", "meta.query_size=2", "meta.tasks_per_iteration=2", "meta.iterations=2",
                    "compute.threads=1", "--eval-tasks", "20");
            require("eval", "--model", args[0], "--adapter", run + "/adapter", "--tasks", args[tasks], "--json",
                    "--threads", "1");
            return os.getProcessCpuTime() - before;
        }

        private static void require(String... args) {
            var err = new ByteArrayOutputStream();
            if (Main.run(args, OutputStream.nullOutputStream(), err) != 0) {
                throw new IllegalStateException(err.toString(StandardCharsets.UTF_8));
            }
        }
    }

    @Test
    void takeTimeInProportion() throws IOException, InterruptedException {
        Path few = tasks("few", FEW);
        Path many = tasks("many", TIMES * FEW);
        Process process = JavaProcess.start(folder, JavaCommand.with(List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
                "-Xmx160m"), Runs.class, Cli.model(), few, many, Files.createDirectory(folder.resolve("runs"))));
        assertThat(process.waitFor(5, TimeUnit.MINUTES)).as("it hangs").isTrue();
        assertThat(process.exitValue()).as(Files.readString(folder.resolve("err"))).isZero();
        double[] ratios = Files.readAllLines(folder.resolve("out")).stream().map(line -> line.split(" "))
                .mapToDouble(times -> Double.parseDouble(times[1]) / Double.parseDouble(times[0])).sorted().toArray();
        assertThat(ratios).hasSize(ROUNDS);
        System.out.println(TIMES + " times the tasks took the processor " + Arrays.toString(ratios) + " times as long");
        assertThat(ratios[ROUNDS / 2]).as(Arrays.toString(ratios)).isLessThan(MOST);
        // The evaluation at a training's end is on as many tasks of both.
        assertThat(lines("few")).isEqualTo(lines("many"));
    }

    private long lines(String runs) throws IOException {
        try (var lines = Files.lines(folder.resolve("runs/" + runs + "-0/evaluation.jsonl"))) {
            return lines.count();
        }
    }

    private Path tasks(String name, int count) throws IOException {
        Path tasks = folder.resolve(name);
        for (int i = 0; i < count; i++) {
            Path task = Files.createDirectories(tasks.resolve("task-" + i));
            Files.writeString(task.resolve("train.jsonl"), examples("train", i, 4));
            Files.writeString(task.resolve("test.jsonl"), examples("test", i, 2));
        }
        return tasks;
    }

    private static String examples(String split, int task, int count) {
        var lines = new StringBuilder();
        for (int i = 0; i < count; i++) {
            lines.append("{\"prompt\": \"%s %d %d is\", \"completion\": \" %s\"}\n"
                    .formatted(split, task, i, i % 2 == 0 ? "red" : "blue"));
        }
        return lines.toString();
    }
}
