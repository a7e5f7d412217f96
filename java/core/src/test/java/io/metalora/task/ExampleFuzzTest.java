package io.metalora.task;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import java.nio.file.Path;

/** Data sets as people have them. */
class ExampleFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();

    @FuzzTest
    void exampleFile(byte[] lines) {
        Path file = Reading.write(FOLDER.resolve("train.jsonl"), lines);
        Reading.check("train.jsonl", lines, () -> {
            for (Example example : ExampleFile.read(file)) {
                if (example.completion().isEmpty()) {
                    throw new AssertionError("an example without a completion");
                }
            }
        });
    }
}
