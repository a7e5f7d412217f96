package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.run.RunFixture;
import io.metalora.runtime.Device;
import io.metalora.runtime.op.DeviceAccess;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is said to be needed before anything is allocated is what training then holds, to the byte. */
class TrainerMemoryTest {

    @ParameterizedTest
    @ValueSource(strings = {"method=meta-lora", "meta.inner_optimizer=adamw", "meta.outer=exact", "meta.aggregation=mgda",
            "optimizer.ema=0.9", "meta.inner_rate_lr=0.1",
            "method=joint-lora", "method=separate-lora", "method=asymmetric-lora", "adapter.kind=mixture"})
    void estimateIsWhatARunHolds(String method) throws IOException {
        TrainConfig config = RunFixture.config(Path.of("tasks"), Path.of("run"), method, "meta.tasks_per_iteration=3");
        var tasks = TinyLlama.tasks();
        try (var llama = new TinyLlama();
             var adapter = LoraAdapter.create(llama.device(), config.adapter().layout(llama.model().config()), 0)) {
            long model = withoutScratch(llama.device()) - Float.BYTES * adapter.layout().parameters();
            try (Trainer trainer = switch (config.method()) {
                case META_LORA -> new MetaLora(llama.model(), adapter, tasks, config);
                case JOINT_LORA -> new JointLora(llama.model(), adapter, tasks, config);
                case SEPARATE_LORA -> new SeparateLora(llama.model(), adapter, tasks, FineTuning.of(config), () -> false);
                case ASYMMETRIC_LORA -> new AsymmetricLora(llama.model(), adapter, tasks, config, () -> false);
            }) {
                long held = withoutScratch(llama.device()) - model;

                var estimate = Trainer.estimate(
                        config, llama.model().config(), llama.model().options(), adapter.layout(), tasks, llama.device());

                assertThat(estimate.total()).isEqualTo(held);
                assertThat(trainer.done()).isZero();
            }
        }
    }

    private static long withoutScratch(Device device) {
        return device.info().memoryInUse() - DeviceAccess.get().scratchBytes(device);
    }
}
