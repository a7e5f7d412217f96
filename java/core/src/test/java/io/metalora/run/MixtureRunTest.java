package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.MixtureLayout;
import io.metalora.config.TrainConfig;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.train.Goldens;
import io.metalora.train.IterationReport;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Runs that train mixtures, by every method. */
class MixtureRunTest {

    @TempDir
    private Path folder;

    private Path tasks;

    @BeforeEach
    void tasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
    }

    private TrainConfig config(Path output, String... overrides) {
        return RunFixture.config(tasks, output, "adapter.kind=mixture", "adapter.heads=3", "joint.epochs=2").with(overrides);
    }

    private Path run(String name, int stopAfter, String... overrides) {
        Path output = folder.resolve(name);
        int[] iterations = {0};
        var counting = new TrainListener() {
            @Override
            public void iteration(IterationReport report, long total) {
                iterations[0]++;
            }
        };
        TrainingRun.start(config(output, overrides), counting, () -> iterations[0] >= stopAfter);
        return output;
    }

    /** Of all adapters of a run, by their path. */
    private static TreeMap<String, String> weights(Path run) throws IOException {
        var weights = new TreeMap<String, String>();
        try (var files = Files.walk(run)) {
            for (Path file : files.filter(f -> f.endsWith("adapter_model.safetensors")).toList()) {
                weights.put(run.relativize(file).toString(), HexFormat.of().formatHex(Files.readAllBytes(file)));
            }
        }
        return weights;
    }

    @ParameterizedTest
    @ValueSource(strings = {"meta.adapts=b", "meta.adapts=heads-and-router", "meta.inner_rate_lr=0.1", "meta.inner_optimizer=sgd",
        "meta.inner_optimizer=adamw", "meta.outer=exact", "meta.aggregation=pcgrad", "method=joint-lora", "method=separate-lora"})
    void stoppedAndResumedGivesTheBitsOfARunThatWasNot(String setting) throws IOException {
        Path straight = run("straight", Integer.MAX_VALUE, setting);
        Path stopped = run("stopped", 4, setting);
        TrainingRun.resume(stopped, TrainListener.SILENT, () -> false);

        assertThat(weights(stopped)).isNotEmpty().isEqualTo(weights(straight));
        assertThat(RunFixture.metrics(stopped)).isEqualTo(RunFixture.metrics(straight));
    }

    @Test
    void everyMatrixIsTrained() {
        Path run = run("run", Integer.MAX_VALUE);
        var model = ModelConfig.read(Goldens.path("tiny-llama"));
        try (var device = Device.cpu();
                var trained = LoraAdapter.load(run.resolve("adapter"), model, device);
                var fresh = LoraAdapter.create(device, trained.layout(), 3)) {
            assertThat(((MixtureLayout) trained.layout()).heads()).isEqualTo(3);
            float[] after = trained.parameters().toFloats();
            float[] before = fresh.parameters().toFloats();
            for (var site : trained.layout().sites()) {
                for (var matrix : site.matrices()) {
                    assertThat(matrix.gather(after, 0)).as(matrix.name() + " of " + site.path())
                            .isNotEqualTo(matrix.gather(before, 0));
                }
                float[] second = site.matrices().get(2).gather(after, 0);
                assertThat(site.matrices().get(1).gather(after, 0)).as("heads differ").isNotEqualTo(second);
            }
        }
    }

    @Test
    void anAdapterOfAnotherKindIsNoBeginning() {
        Path mixture = run("mixture", 3).resolve("adapter");
        assertThatThrownBy(() -> run("lora", 3, "adapter.kind=lora", "adapter.init=" + mixture))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("adapter.init " + mixture + " holds a mixture of 3 heads of rank 2")
                .hasMessageContaining("adapter.kind is lora; set adapter.kind to mixture");
        assertThat(folder.resolve("lora")).doesNotExist();

        Path lora = run("plain", 3, "adapter.kind=lora").resolve("adapter");
        assertThatThrownBy(() -> run("other", 3, "adapter.init=" + lora)).isInstanceOf(InputException.class)
                .hasMessageContaining("holds a LoRA of rank 2").hasMessageContaining("set adapter.kind to lora");

        Path on = run("on", Integer.MAX_VALUE, "adapter.init=" + mixture, "adapter.heads=7", "meta.iterations=2");
        assertThat(on.resolve("initial_adapter/adapter_model.safetensors"))
                .hasSameBinaryContentAs(mixture.resolve("adapter_model.safetensors"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"adapter.heads=2", "adapter.kind=lora"})
    void aResumedRunKeepsItsKind(String changed) {
        Path run = run("run", 4);
        var other = config(run, changed);
        String key = changed.substring(0, changed.indexOf('='));
        assertThatThrownBy(() -> TrainingRun.resume(run, other, false, TrainListener.SILENT, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining(key + " was ");
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "-1", "32769"})
    void headsOutOfRangeAreRefused(String heads) {
        assertThatThrownBy(() -> run("run", 1, "adapter.heads=" + heads)).isInstanceOf(InputException.class)
                .hasMessageContaining("adapter.heads is " + heads + ", but must be between 1 and 32768");
        assertThat(folder.resolve("run")).doesNotExist();
    }
}
