package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code train} with device auto takes CUDA where it can, and agrees with the CPU. */
@Tag("cuda")
class TrainCudaTest {
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    /** Room for this one would make the weights themselves much larger. */
    @Test
    void anAdapterThatHasNoRoomIsNamed() throws IOException {
        CudaDevice.open(DType.BF16).close(); // or skips
        Path config = Cli.config(folder, Cli.tasks(folder), folder.resolve("run"));
        var trained = Cli.run("train", config, "adapter.rank=136", "meta.iterations=1", "meta.inner_steps=1", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(trained.err()).contains("warning: adapters of 136 columns in 2 slots have no room");
    }

    private List<JsonNode> train(Path config, String device) throws IOException {
        Path run = folder.resolve(device);
        var trained = Cli.run("train", config, "output=" + run, "compute.backend=" + device, "meta.iterations=2", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(trained.err()).doesNotContain("have no room");
        assertThat(trained.out() + trained.err()).containsIgnoringCase(device.equals("auto") ? "cuda" : "cpu");
        var lines = new ArrayList<JsonNode>();
        for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
            lines.add(JSON.readTree(line));
        }
        return lines;
    }

    @Test
    void deviceAutoTakesCudaAndAgreesWithTheCpu() throws IOException {
        CudaDevice.open(DType.BF16).close(); // or skips
        Path config = Cli.config(folder, Cli.tasks(folder), folder.resolve("run"));
        var expected = train(config, "cpu");
        var lines = train(config, "auto");
        assertThat(lines).hasSameSizeAs(expected).hasSize(2);
        for (int i = 0; i < lines.size(); i++) {
            for (String value : List.of("loss", "support_loss_before", "support_loss_after")) {
                double on = expected.get(i).get(value).asDouble();
                assertThat(lines.get(i).get(value).asDouble()).as(value).isCloseTo(on, within(1e-2 * on)); // bf16
            }
            double norm = expected.get(i).get("gradient_norm").asDouble();
            assertThat(lines.get(i).get("gradient_norm").asDouble()).isCloseTo(norm, within(5e-2 * norm));
        }
    }
}
