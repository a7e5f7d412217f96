package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Writes that fail, as on a full disk: the message names file and cause, nothing is left half, and the run goes on. */
@EnabledOnOs(OS.LINUX)
class FailingWritesTest {

    @TempDir
    private Path folder;

    /** The system refuses files larger than so many KiB: now one, now another file of the run is the first to be. */
    @Test
    void nameFileAndCauseAndTheRunGoesOn() throws IOException, InterruptedException {
        Path tasks = Cli.tasks(folder);
        Path straight = folder.resolve("straight");
        String[] settings = {"compute.backend=cpu", "compute.checkpoint_every=50", "meta.iterations=30", "--no-eval"};
        assertThat(train(straight, tasks, settings).code()).isZero();
        var failed = new ArrayList<String>();
        for (int limit : new int[] {2, 5, 12, 23}) {
            Path run = folder.resolve("run-" + limit);
            var command = new ArrayList<>(List.of("bash", "-c", "ulimit -f " + limit + " && exec \"$@\"", "bash"));
            command.addAll(JavaProcess.command(List.of("-XX:-UsePerfData"), arguments(run, tasks, settings).toArray()));
            var result = JavaProcess.await(JavaProcess.start(folder, command), folder);

            assertThat(result.code()).as("%d KiB: %s", limit, result.err()).isEqualTo(1);
            String error = result.err().lines().filter(line -> line.startsWith("error: ")).findFirst().orElse("none in " + result.err());
            assertThat(error).startsWith("error: can't write " + run).contains(": File too large").doesNotContain("java.", ".tmp-");
            failed.add(run.relativize(Path.of(error.substring("error: can't write ".length(), error.indexOf(": File too large")))).toString());
            try (var files = Files.walk(run)) {
                assertThat(files.map(Path::toString)).noneMatch(name -> name.contains(".tmp-"));
            }
            var again = Files.exists(run.resolve("config.resolved.yaml")) ? Cli.run("train", "--resume", run, "--no-eval")
                    : train(run, tasks, settings);
            assertThat(again.code()).as(again.err()).isZero();
            assertThat(error.contains("resume it with --resume " + run)).isEqualTo(!failed.getLast().equals("fingerprint.json"));
            assertThat(run.resolve("adapter/adapter_model.safetensors")).hasSameBinaryContentAs(straight.resolve("adapter/adapter_model.safetensors"));
            assertThat(run.resolve("draws.jsonl")).hasSameBinaryContentAs(straight.resolve("draws.jsonl"));
            assertThat(Files.readAllLines(run.resolve("metrics.jsonl"))).hasSize(30);
        }
        assertThat(failed).containsExactly("fingerprint.json", "metrics.jsonl", "metrics.jsonl", "checkpoints/checkpoint-0000000030.safetensors");
    }

    private Cli.Result train(Path run, Path tasks, String... settings) throws IOException {
        return Cli.run(arguments(run, tasks, settings).toArray());
    }

    private List<Object> arguments(Path run, Path tasks, String... settings) throws IOException {
        var arguments = new ArrayList<Object>(List.of("train", Cli.config(folder, tasks, run)));
        arguments.addAll(List.of(settings));
        return arguments;
    }
}
