package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a protocol asks for that the device can't do is said before the first cell. */
class CompareDeviceTest {

    @TempDir
    private Path folder;

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            inner_lr: 0.01}           | inner_lr: 0.01, outer: exact}                     | arms.meta, trial 1: meta.outer: exact
            compute.checkpoint_every: | compute.weights: f32, compute.checkpoint_every: | arms.base, trial 1: config: compute.weights
            """)
    void bf16ArithmeticThatATrialCanNotDoIsRefused(String setting, String other, String message) throws IOException {
        Path file = CompareFixture.protocol(folder, CompareFixture.tasks(folder));
        String text = Files.readString(file);
        assertThat(text).contains(setting);
        Files.writeString(file, text.replace(setting, other));
        Path output = folder.resolve("out");
        var result = Cli.run("compare", file, "--output", output, "--device", "cpu", "--threads", "1", "--arithmetic", "bf16");
        assertThat(result.code()).as(result.err()).isEqualTo(2);
        assertThat(result.err()).contains(message);
        assertThat(output.resolve("protocol.yaml")).doesNotExist();
        assertThat(output.resolve("cells")).doesNotExist();
    }
}
