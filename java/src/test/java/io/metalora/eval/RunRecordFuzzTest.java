package io.metalora.eval;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import java.nio.file.Path;

/** The logs that a report is made of. */
class RunRecordFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();
    private static final byte[] NONE = {};

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
}
