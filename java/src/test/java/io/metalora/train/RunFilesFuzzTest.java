package io.metalora.train;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import java.nio.file.Path;
import java.util.List;

/** What a run is made of and goes on from. */
class RunFilesFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();

    @FuzzTest
    void configuration(byte[] yaml) {
        Path file = Reading.write(FOLDER.resolve("config.yaml"), yaml);
        Reading.check("config.yaml", yaml, () -> TrainConfig.read(file, List.of()).toYaml());
    }

    /** The lines are overrides on the command line. */
    @FuzzTest
    void overrides(byte[] lines) {
        String[] overrides = new String(lines, UTF_8).split("\n");
        Reading.check("", lines, () -> TrainConfig.of(overrides).toYaml());
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
