package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.task.Episode;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What a trainer holds before its first iteration is all that it ever holds. */
class PlannedMemoryCudaTest {

    @ParameterizedTest
    @EnumSource(value = DType.class, names = {"F32", "BF16"})
    void noIterationNeedsMore(DType activations) throws IOException {
        List<List<Episode>> episodes = TinyLlama.episodes().subList(0, 3);
        var config = TrainConfig.of("meta.iterations=8", "meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_steps=1", "meta.inner_lr=0.05", "optimizer.lr=0.01", "compute.token_budget=1024");
        try (var llama = new TinyLlama(CudaDevice.open(activations)); LoraAdapter shared = llama.adapter()) {
            long before = llama.device().info().memoryInUse();
            try (var meta = new MetaLora(llama.model(), shared, TinyLlama.tasks(), config)) {
                long held = llama.device().info().memoryInUse();
                assertThat(meta.scratchBytes()).isPositive().isLessThan(held - before);
                episodes.forEach(meta::iterate);
                assertThat(llama.device().info().memoryInUse()).isEqualTo(held);
                assertThat(llama.device().info().memoryPeak()).isEqualTo(held);
            }
        }
    }
}
