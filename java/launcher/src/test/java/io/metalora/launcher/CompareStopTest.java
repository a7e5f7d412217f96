package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code compare}, asked to stop in the middle of each kind of work, and continued by the same command. */
@DisabledOnOs(OS.WINDOWS)
class CompareStopTest {

    private static final int TRAINED = 20; // iterations, of many

    @TempDir
    private static Path shared;

    private static Path protocol;
    private static Path straight;

    @TempDir
    private Path folder;

    /** Trainings, adapting and measuring along the way that are long enough for a signal to arrive meanwhile. */
    @BeforeAll
    static void neverStopped() throws IOException {
        Path shorter = CompareFixture.protocol(shared, CompareFixture.tasks(shared));
        protocol = Files.writeString(shared.resolve("longer.yaml"), Files.readString(shorter)
                .replace("iterations: 4,", "iterations: 300,").replace("track: 3", "track: 50")
                .replace("compute.checkpoint_every: 1", "compute.checkpoint_every: 100")
                .replace("samples: [8, all], epochs: 2", "samples: [8, all], epochs: 200"));
        straight = shared.resolve("straight");
        var result = Cli.run(arguments(straight));
        assertThat(result.code()).as(result.err()).isZero();
    }

    private static Object[] arguments(Path output) {
        return new Object[] {"compare", protocol, "--output", output, "--threads", "1"};
    }

    @ParameterizedTest
    @CsvSource({"between cells, INT, 130", "training, INT, 130", "adapting, TERM, 143", "tracking, HUP, 129"})
    void whatIsFinishedIsKept(String when, String signal, int code) throws IOException, InterruptedException {
        Path output = folder.resolve("stopped");
        Process process = JavaProcess.start(folder, List.of(), arguments(output));
        await(process, output, when);
        JavaProcess.signal(process, signal);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(code);
        Map<String, String> cells = files(output.resolve("cells"), ".json");
        assertThat(stopped.err()).contains("stopping: what is finished is kept",
                "stopped: " + cells.size() + " cells are finished in " + output + "; the same command continues");
        assertThat(stopped.out()).isEmpty();
        assertThat(output.resolve("results.json")).doesNotExist();
        Optional<Path> training = inTraining(output);
        assertThat(training.isPresent()).isEqualTo(when.equals("training") || when.equals("tracking"));
        Map<String, String> runs = files(output.resolve("runs"), "metrics.jsonl");
        Map<String, String> tracks = files(output.resolve("runs"), "track.json");

        var continued = Cli.run(arguments(output));
        assertThat(continued.code()).as(continued.err()).isZero();
        // With the times in them: they were not computed again.
        assertThat(files(output.resolve("cells"), ".json")).containsAllEntriesOf(cells);
        Map<String, String> now = files(output.resolve("runs"), "metrics.jsonl");
        runs.forEach((file, lines) -> assertThat(now.get(file)).as(file).startsWith(lines));
        assertThat(files(output.resolve("runs"), "track.json").keySet()).containsAll(tracks.keySet());
        CompareFixture.requireSame(output, straight, "stopped while " + when);
    }

    /** Until the comparison is at that work. */
    private void await(Process process, Path output, String when) throws IOException, InterruptedException {
        long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(2);
        while (!isAt(output, when)) {
            assertThat(process.isAlive() && System.nanoTime() < end).as(Files.readString(folder.resolve("err"))).isTrue();
            Thread.sleep(2);
        }
    }

    private static boolean isAt(Path output, String when) throws IOException {
        return switch (when) {
            case "between cells" -> Files.exists(output.resolve("cells/joint/trial-1.json"));
            case "training" -> inTraining(output).isPresent();
            case "adapting" -> Files.exists(output.resolve("cells/meta/trial-2.json"));
            case "tracking" -> !files(output.resolve("runs"), "track.json").isEmpty() && inTraining(output).filter(run ->
                    Files.exists(run.resolve("track.json"))).isPresent();
            default -> throw new AssertionError(when);
        };
    }

    /** The run of a training that is under way. */
    private static Optional<Path> inTraining(Path output) throws IOException {
        for (String file : files(output.resolve("runs"), "metrics.jsonl").keySet()) {
            Path metrics = output.resolve("runs").resolve(file);
            if (!Files.exists(metrics.resolveSibling("cost.json")) && Files.readAllLines(metrics).size() > TRAINED) {
                return Optional.of(metrics.getParent());
            }
        }
        return Optional.empty();
    }

    /** The text of each file in a folder, by its path in there; none where there is no folder. */
    private static Map<String, String> files(Path in, String ending) throws IOException {
        var texts = new TreeMap<String, String>();
        if (Files.isDirectory(in)) {
            for (Path folder : list(in)) {
                for (Path file : list(folder)) {
                    if (file.toString().endsWith(ending)) {
                        texts.put(in.relativize(file).toString(), Files.readString(file));
                    }
                }
            }
        }
        return texts;
    }

    private static List<Path> list(Path folder) throws IOException {
        try (var files = Files.list(folder)) {
            return files.toList();
        }
    }
}
