package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.Method;
import io.metalora.config.TrainConfig;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import java.io.IOException;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What a trainer holds before its first iteration is all that it ever holds. */
@Tag("cuda")
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

    /** The Gram matrix of many tasks takes more than any op of a small pass. */
    @Test
    void whatRunsBetweenPassesIsPlannedToo() throws IOException {
        int n = 1024;
        var like = TinyLlama.tasks().getFirst();
        var tasks = IntStream.range(0, n).mapToObj(i -> new EncodedTask("task" + i, like.examples(), like.lines())).toList();
        var config = TrainConfig.of("meta.tasks_per_iteration=" + n, "meta.support_size=1", "meta.query_size=1", "compute.token_budget=64");
        try (var llama = new TinyLlama(CudaDevice.open(DType.F32)); LoraAdapter shared = llama.adapter();
                var meta = new MetaLora(llama.model(), shared, tasks, config)) {
            assertThat(meta.scratchBytes()).isGreaterThanOrEqualTo((long) n * n * Double.BYTES);
        }
    }

    @ParameterizedTest
    @EnumSource(Method.class)
    void aTrainerThatDoesNotFitLeavesNothing(Method method) throws IOException {
        var config = TrainConfig.of("meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_optimizer=adamw");
        var tasks = TinyLlama.tasks();
        try (var llama = new TinyLlama(CudaDevice.open(DType.F32)); LoraAdapter shared = llama.adapter()) {
            long before = llama.device().info().memoryInUse();
            CudaDevice.leave(llama.device(), 512 << 20);
            try {
                assertThatThrownBy(() -> {
                    if (method == Method.META_LORA) {
                        new MetaLora(llama.model(), shared, tasks, config);
                    } else {
                        new JointLora(llama.model(), shared, tasks, config);
                    }
                }).isInstanceOf(InputException.class)
                        .hasMessageContaining("lower the token budget");
                assertThat(llama.device().info().memoryInUse()).isEqualTo(before);
            } finally {
                CudaDevice.leave(llama.device(), 0);
            }
        }
    }
}
