package io.metalora.launcher.report;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.task.Example;
import io.metalora.task.Task;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** The logs that a report is made of, and the answers that an evaluation goes on from. */
class RunRecordFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();
    private static final byte[] NONE = {};

    private static final EvaluationLog.Settings SETTINGS = new EvaluationLog.Settings(Split.TEST, 2, 0, "00000000", "00000000");
    private static final List<TaskItems> ITEMS = Stream.of("a", "b").map(RunRecordFuzzTest::task).map(task -> TaskItems.of(task, Split.TEST, 2)).toList();

    private static Task task(String name) {
        var examples = List.of(example(" yes"), example(" no"), example(" yes"), example(" no"));
        return new Task(name, examples, List.of(), examples);
    }

    private static Example example(String completion) {
        return new Example("is it?", completion, "test.jsonl:1");
    }

    @FuzzTest
    void metrics(byte[] lines) {
        Path draws = Reading.write(FOLDER.resolve("draws.jsonl"), NONE);
        Path metrics = Reading.write(FOLDER.resolve("metrics.jsonl"), lines);
        Reading.check("metrics.jsonl", lines, () -> RunRecord.read(metrics, draws).sections(""));
    }

    @FuzzTest
    void draws(byte[] lines) {
        Path metrics = Reading.write(FOLDER.resolve("metrics.jsonl"), NONE);
        Path draws = Reading.write(FOLDER.resolve("draws.jsonl"), lines);
        Reading.check("draws.jsonl", lines, () -> RunRecord.read(metrics, draws).sections(""));
    }

    /** The answers of an evaluation that is gone on with: what is none of them is begun anew. */
    @FuzzTest
    void answers(byte[] lines) {
        Path file = Reading.write(FOLDER.resolve("evaluation.jsonl"), lines);
        Reading.check("evaluation.jsonl", lines, () -> {
            EvaluationLog.settings(file).ifPresent(settings -> {
                if (settings.samples() < 0 || settings.tasks() < 0) {
                    throw new AssertionError("accepted " + settings);
                }
            });
            try (var log = EvaluationLog.open(file, SETTINGS, ITEMS)) {
                for (TaskItems task : ITEMS) {
                    if (log.complete("base", task)) {
                        log.result("base", task);
                    }
                }
            }
        });
    }
}
