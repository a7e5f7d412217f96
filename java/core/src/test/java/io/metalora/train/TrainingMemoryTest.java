package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.run.RunFixture;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is said to be needed before loading is what a run then holds. */
class TrainingMemoryTest {

    @ParameterizedTest
    @ValueSource(strings = {"method=meta-lora", "meta.inner_optimizer=adamw", "meta.outer=exact", "method=joint-lora",
        "method=separate-lora", "adapter.kind=mixture"})
    void estimateIsWhatARunHolds(String method) throws IOException {
        TrainConfig config = RunFixture.config(Path.of("tasks"), Path.of("run"), method, "meta.tasks_per_iteration=3");
        var tasks = TinyLlama.tasks();
        try (var llama = new TinyLlama();
             var adapter = LoraAdapter.create(llama.device(), config.adapter().layout(llama.model().config()), 0);
             Trainer trainer = switch (config.method()) {
                 case META_LORA -> new MetaLora(llama.model(), adapter, tasks, config);
                 case JOINT_LORA -> new JointLora(llama.model(), adapter, tasks, config);
                 case SEPARATE_LORA -> new SeparateLora(llama.model(), adapter, tasks, FineTuning.of(config), () -> false);
             }) {
            long held = llama.device().info().memoryInUse();
            long working = 512; // norms, task weights, the Gram matrix

            var estimate = TrainingMemory.estimate(config, llama.model().config(), adapter.layout(), tasks, llama.device());

            assertThat(estimate.total()).isCloseTo(held, within(working));
            assertThat(estimate.weights()).isEqualTo(
                    CausalLM.estimate(config.model(), llama.device(), LoadOptions.defaults()).total());
            assertThat(trainer.done()).isZero();
        }
    }
}
