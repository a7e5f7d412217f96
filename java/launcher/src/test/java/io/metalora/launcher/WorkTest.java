package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class WorkTest {

    /** Four tasks of 10 iterations on samples of 2 tokens: passes over the support set's 3 samples, then the query set's 5. */
    @ParameterizedTest
    @CsvSource({"first-order, 0, 12.5", "first-order, 2, 27.5", "exact, 2, 57.5", "reptile, 2, 20"})
    void ofTrainingCountsEveryPass(String outer, int steps, double each) {
        TrainConfig config = TrainConfig.of("meta.iterations=10", "meta.tasks_per_iteration=4", "meta.support_size=3",
                "meta.query_size=5", "meta.inner_steps=" + steps, "meta.outer=" + outer);
        assertThat(Work.training(config, 100, 2)).isEqualTo(10 * 4 * 2 * each);
    }
}
