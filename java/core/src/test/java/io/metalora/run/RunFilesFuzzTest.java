package io.metalora.run;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.config.Protocol;
import io.metalora.config.TrainConfig;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.train.TrainerState;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;

/** What a run is made of and goes on from. */
class RunFilesFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();
    private static final List<EncodedTask> TASKS = List.of(task("a"), task("b"));
    private static final TrainConfig REPEATING = TrainConfig.of("meta.iterations=2", "meta.tasks_per_iteration=2",
            "meta.support_size=2", "meta.query_size=1", "meta.inner_steps=1");

    /** A configuration that is accepted is the same after it was written and read. */
    @FuzzTest
    void configuration(byte[] yaml) {
        Path file = Reading.write(FOLDER.resolve("config.yaml"), yaml);
        Reading.check("config.yaml", yaml, () -> requireStable(TrainConfig.read(file, List.of())));
    }

    @FuzzTest
    void protocol(byte[] yaml) {
        Path file = Reading.write(FOLDER.resolve("protocol.yaml"), yaml);
        Reading.check("protocol.yaml", yaml, () -> Protocol.parse("protocol.yaml", Protocol.text(file)).arms().values().forEach(arm -> arm.grid().forEach(Protocol.Trial::config)));
    }

    /** The lines are overrides on the command line. */
    @FuzzTest
    void overrides(byte[] lines) {
        String[] overrides = new String(lines, UTF_8).split("\n");
        Reading.check("", lines, () -> requireStable(TrainConfig.of(overrides)));
    }

    private static void requireStable(TrainConfig config) {
        String yaml = config.toYaml();
        TrainConfig again = TrainConfig.parse("written", yaml, List.of());
        if (!again.equals(config)) {
            throw new AssertionError("not the same after writing and reading:\n" + yaml + "\n" + again.toYaml());
        }
    }

    @FuzzTest
    void fingerprint(byte[] json) {
        Path file = Reading.write(FOLDER.resolve("fingerprint.json"), json);
        Reading.check("fingerprint.json", json, () -> RunStart.read(file).settingChangesTo(TrainConfig.DEFAULTS));
    }

    /** The logs of a run that is to go on, up to the length that its checkpoint tells. */
    @FuzzTest
    void resumedLogs(byte[] lines) {
        Path file = Reading.write(FOLDER.resolve("draws.jsonl"), lines);
        var iterations = new long[1];
        Reading.check("draws.jsonl", lines, () -> RunLog.read(file, lines.length, line -> {
            if (!RunLines.isSubset(line)) {
                RunLines.requireIteration(line, ++iterations[0]);
            }
        }));
    }

    /** The draws of another run that are to be repeated: what is accepted can be drawn. */
    @FuzzTest
    void replay(byte[] lines) {
        Path file = Reading.write(FOLDER.resolve("replay.jsonl"), lines);
        Reading.check("replay.jsonl", lines, () -> {
            Replay replay = Replay.read(file, TASKS, REPEATING);
            for (long iteration = 0; iteration < REPEATING.meta().iterations(); iteration++) {
                if (replay.draw(iteration).size() != REPEATING.meta().tasksPerIteration()) {
                    throw new AssertionError("accepted " + replay.draw(iteration));
                }
            }
        });
    }

    private static EncodedTask task(String name) {
        List<EncodedExample> examples = IntStream.range(0, 6).mapToObj(i -> new EncodedExample(new int[] {1, i}, 1)).toList();
        return new EncodedTask(name, examples, new int[] {0, 2, 3, 5, 8, 9});
    }

    @FuzzTest
    void checkpoint(byte[] bytes) {
        Path file = Reading.write(FOLDER.resolve("checkpoint-0000000001.safetensors"), bytes);
        Reading.check("checkpoint-0000000001.safetensors", bytes, () -> {
            TrainerState state = Checkpoint.read(file).state();
            if (state.step() < 0) {
                throw new AssertionError("accepted step " + state.step());
            }
        });
    }
}
