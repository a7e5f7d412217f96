package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.task.Episode;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Iterations whose passes come to be replayed, against those of a trainer that is made anew for each and replays none. */
@Tag("cuda")
class ReplayedIterationsCudaTest {

    @ParameterizedTest
    @CsvSource({"F32, all, 5", "BF16, all, 5", "F32, b, 6", "BF16, b, 6"})
    void giveTheSameBits(DType activations, String adapts, int replays) throws IOException {
        List<List<Episode>> episodes = TinyLlama.episodes().subList(0, 4);
        if (adapts.equals("b")) { // passes over both sets are then of one shape, and differ in what they give gradients of
            episodes = episodes.stream().map(batch -> batch.stream()
                    .map(e -> new Episode(e.task(), new int[] {0, 1}, new int[] {0, 1})).toList()).toList();
        }
        var config = TrainConfig.of("meta.iterations=8", "meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_steps=1", "meta.inner_lr=0.05", "optimizer.lr=0.01", "compute.token_budget=1024",
                "meta.adapts=" + adapts)
                .with(adapts.equals("b") ? new String[] {"meta.inner_rate_lr=0.1", "optimizer.ema=0.9"} : new String[0]);
        try (var llama = new TinyLlama(CudaDevice.open(activations)); var replayed = llama.adapter(); var direct = llama.adapter()) {
            try (var meta = new MetaLora(llama.model(), replayed, TinyLlama.tasks(), config)) {
                episodes.forEach(meta::iterate);
                // Of four support and four query passes; the first of a shape, and of what has gradients, runs op by op.
                assertThat(meta.replayed()).isEqualTo(replays);
            }
            TrainerState state = null;
            for (List<Episode> batch : episodes) {
                try (var meta = new MetaLora(llama.model(), direct, TinyLlama.tasks(), config)) {
                    if (state != null) {
                        meta.restore(state);
                    }
                    meta.iterate(batch);
                    assertThat(meta.replayed()).isZero();
                    state = meta.state();
                }
            }
            assertThat(replayed.parameters().toFloats()).containsExactly(direct.parameters().toFloats());
        }
    }

    /** The losses, the Gram matrix and the norm are waited for in the end, and nothing before, however many passes there were. */
    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void waitForTheirResultsAlone(int innerSteps) throws IOException {
        List<List<Episode>> episodes = TinyLlama.episodes().subList(0, 3);
        var config = TrainConfig.of("meta.iterations=8", "meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_steps=" + innerSteps, "meta.inner_clip=1", "meta.inner_lr=0.05", "optimizer.lr=0.01",
                "compute.token_budget=1024");
        try (var llama = new TinyLlama(CudaDevice.open(DType.F32)); var adapter = llama.adapter();
             var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(), config)) {
            meta.iterate(episodes.get(0));
            for (List<Episode> batch : episodes.subList(1, 3)) {
                long before = CudaDevice.waits();
                meta.iterate(batch);
                assertThat(CudaDevice.waits() - before).isEqualTo(3);
            }
        }
    }
}
