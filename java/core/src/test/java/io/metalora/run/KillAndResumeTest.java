package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.files.JavaCommand;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Real processes, killed by SIGKILL in the middle of iterations and of checkpoint writes, then resumed. */
class KillAndResumeTest {

    @TempDir
    Path folder;

    @Test
    @Timeout(value = 10, unit = TimeUnit.MINUTES)
    void endsWithTheBitsOfARunThatWasNeverKilled() throws IOException, InterruptedException {
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        Path straight = folder.resolve("straight");
        Path killed = folder.resolve("killed");
        String[] settings = {"meta.iterations=60", "meta.inner_optimizer=adamw", "compute.checkpoint_every=2"};
        TrainingRun.start(RunFixture.config(tasks, straight, settings), TrainListener.SILENT, () -> false);
        Path config = folder.resolve("config.yaml");
        Files.writeString(config, RunFixture.config(tasks, killed, settings).toYaml());

        // After how many iterations of its own a process is killed, and how many microseconds later: within an iteration,
        // within the writing of a checkpoint, or right after it.
        int[][] kills = {{1, 0}, {4, 1500}, {5, 300}, {6, 4000}, {2, 900}};
        int lastSeen = 0;
        int killsThatHit = 0;
        for (int[] kill : kills) {
            int seen = runAndKill(config, killed, kill[0], kill[1]);
            killsThatHit += seen < 60 ? 1 : 0;
            lastSeen = Math.max(lastSeen, seen);
        }
        assertThat(killsThatHit).as("processes killed before the end").isEqualTo(kills.length);
        assertThat(lastSeen).isLessThan(60);
        assertThat(killed.resolve("adapter")).doesNotExist();

        List<String> lines = new ArrayList<>();
        Process process = start(config, killed);
        try (BufferedReader out = process.inputReader()) {
            out.lines().forEach(lines::add);
        }
        assertThat(process.waitFor()).as(String.join("\n", lines)).isZero();
        assertThat(lines).last().isEqualTo("finished");
        assertThat(lines.getFirst()).as("the last process resumed, it did not begin again").isNotEqualTo("iteration 1");

        assertThat(RunFixture.adapter(killed)).isEqualTo(RunFixture.adapter(straight));
        assertThat(RunFixture.metrics(killed)).isEqualTo(RunFixture.metrics(straight));
        assertThat(Files.readString(killed.resolve("draws.jsonl"))).isEqualTo(Files.readString(straight.resolve("draws.jsonl")));
    }

    /** Killed after the last iteration: while its checkpoint or the adapter is written, or later. */
    @Test
    @Timeout(value = 10, unit = TimeUnit.MINUTES)
    void killedWhileTheAdapterIsSaved() throws IOException, InterruptedException {
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        Path straight = folder.resolve("straight");
        String[] settings = {"meta.iterations=4", "adapter.rank=64", "compute.checkpoint_every=2"};
        TrainingRun.start(RunFixture.config(tasks, straight, settings), TrainListener.SILENT, () -> false);
        for (int microseconds : new int[] {0, 2_000, 8_000, 20_000}) {
            Path killed = folder.resolve("killed-" + microseconds);
            Path config = folder.resolve("config.yaml");
            Files.writeString(config, RunFixture.config(tasks, killed, settings).toYaml());
            Process process = start(config, killed);
            try (BufferedReader out = process.inputReader()) {
                for (int i = 1; i <= 4; i++) {
                    assertThat(out.readLine()).isEqualTo("iteration " + i);
                }
                TimeUnit.MICROSECONDS.sleep(microseconds);
                process.toHandle().destroyForcibly();
                process.waitFor();
            }

            TrainingRun.resume(killed, TrainListener.SILENT, () -> false);

            assertThat(RunFixture.adapter(killed)).as("killed after " + microseconds + " us").isEqualTo(RunFixture.adapter(straight));
            assertThat(RunFixture.metrics(killed)).isEqualTo(RunFixture.metrics(straight));
            try (var files = Files.list(killed)) {
                assertThat(files.map(file -> file.getFileName().toString())).as("nothing is left over").noneMatch(name -> name.contains("tmp"));
            }
        }
    }

    /** Returns the last iteration that the process reported. */
    private static int runAndKill(Path config, Path run, int iterations, int microseconds) throws IOException, InterruptedException {
        Process process = start(config, run);
        int last = 0;
        var lines = new ArrayList<String>();
        try (BufferedReader out = process.inputReader()) {
            for (int i = 0; i < iterations; i++) {
                String line = out.readLine();
                lines.add(line);
                assertThat(line).as("output so far: %s", lines).isNotNull().startsWith("iteration ");
                last = Integer.parseInt(line.substring("iteration ".length()));
            }
            TimeUnit.MICROSECONDS.sleep(microseconds);
            process.toHandle().destroyForcibly(); // unlike the process's own, leaves what it wrote to be read
            for (String line = out.readLine(); line != null && line.startsWith("iteration "); line = out.readLine()) {
                last = Integer.parseInt(line.substring("iteration ".length()));
            }
        }
        assertThat(process.waitFor()).isNotZero();
        return last;
    }

    private static Process start(Path config, Path run) throws IOException {
        return new ProcessBuilder(JavaCommand.of(KilledRun.class, config, run))
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }
}
