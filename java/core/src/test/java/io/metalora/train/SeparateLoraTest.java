package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.InnerOptimizer;
import io.metalora.config.Schedule;
import io.metalora.config.TrainConfig;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** LoRA of each task by itself. */
class SeparateLoraTest {

    private static TinyLlama llama;

    @BeforeAll
    static void load() {
        llama = new TinyLlama();
    }

    @AfterAll
    static void close() {
        llama.close();
    }

    private static FineTuning options(InnerOptimizer algorithm, double lr, int epochs, int batch) {
        return new FineTuning(0, epochs, batch, algorithm, AdapterPart.ALL,
                new TrainConfig.Optimizer(lr, 0.9, 0.95, 1e-8, 0.1, 0.5, Schedule.COSINE, 2, 0, 0), 7, 0);
    }

    /** What each task comes to. */
    private static List<float[]> train(List<EncodedTask> tasks, FineTuning options) {
        try (LoraAdapter start = llama.adapter();
                var training = new SeparateLora(llama.model(), start, tasks, options, () -> false)) {
            while (training.done() < training.total()) {
                training.iterate();
            }
            assertThat(training.failures()).isEmpty();
            return slots(training);
        }
    }

    private static List<float[]> slots(SeparateLora training) {
        long count = training.slots().layout().parameters();
        return IntStream.range(0, training.slots().slots())
                .mapToObj(slot -> training.slots().parameters().view(slot * count, count).toFloats()).toList();
    }

    private static float[] start() {
        try (var start = llama.adapter()) {
            return start.parameters().toFloats();
        }
    }

    private static double norm(float[] values) {
        return Math.sqrt(IntStream.range(0, values.length).mapToDouble(i -> (double) values[i] * values[i]).sum());
    }

    private static double relativeError(float[] actual, float[] expected) {
        var difference = new float[actual.length];
        for (int i = 0; i < actual.length; i++) {
            difference[i] = actual[i] - expected[i];
        }
        return norm(difference) / norm(expected);
    }

    @ParameterizedTest
    @EnumSource(InnerOptimizer.class)
    void eachTaskComesToWhatItWouldAlone(InnerOptimizer algorithm) {
        var options = options(algorithm, algorithm == InnerOptimizer.SGD ? 0.5 : 0.01, 3, 4);
        var tasks = List.of(TinyLlama.task("a", 12), TinyLlama.task("b", 7), TinyLlama.task("c", 1));
        List<float[]> together = train(tasks, options);
        for (int i = 0; i < tasks.size(); i++) {
            float[] alone = train(List.of(tasks.get(i)), options).getFirst();
            assertThat(relativeError(alone, start())).isGreaterThan(1e-3); // it was trained
            assertThat(relativeError(together.get(i), alone)).isLessThan(1e-6);
        }
    }

    @Test
    void aTaskWhoseBatchIsAllOfItComesToWhatJointLoraDoes() {
        var config = TrainConfig.of("method=joint-lora", "joint.epochs=6", "joint.batch_size=8", "optimizer.lr=0.01", "optimizer.weight_decay=0.05",
                "optimizer.warmup_steps=2");
        var task = TinyLlama.task("a", 6);
        float[] separate = train(List.of(TinyLlama.task("other", 9), task), FineTuning.of(config)).getLast();
        try (LoraAdapter adapter = llama.adapter(); var joint = new JointLora(llama.model(), adapter, List.of(task), config)) {
            while (joint.done() < joint.total()) {
                joint.iterate();
            }
            assertThat(relativeError(separate, adapter.parameters().toFloats())).isLessThan(1e-6);
        }
    }

    @Test
    void stepsStandInPlaceOfEpochs() {
        var of = new FineTuning(5, 1, 4, InnerOptimizer.ADAMW, AdapterPart.ALL, TrainConfig.DEFAULTS.optimizer(), 0, 0);
        try (LoraAdapter start = llama.adapter();
                var training = new SeparateLora(llama.model(), start, List.of(TinyLlama.task("a", 12), TinyLlama.task("b", 3)), of, () -> false)) {
            assertThat(training.total()).isEqualTo(5);
            var seen = new ArrayList<Integer>();
            for (int i = 0; i < 5; i++) {
                var report = training.iterate();
                assertThat(report.tasks()).hasSize(2);
                seen.addAll(report.draws().getFirst().query());
                assertThat(report.draws().getLast().query()).hasSize(3);
            }
            assertThat(seen.subList(0, 12)).doesNotHaveDuplicates();
            assertThat(seen).hasSize(20);
        }
    }

    @Test
    void goesOnFromItsStateBitForBit() {
        var options = options(InnerOptimizer.ADAMW, 0.01, 3, 4);
        var tasks = List.of(TinyLlama.task("a", 12), TinyLlama.task("b", 7));
        List<float[]> expected = train(tasks, options);
        try (LoraAdapter start = llama.adapter();
                var first = new SeparateLora(llama.model(), start, tasks, options, () -> false);
                var second = new SeparateLora(llama.model(), start, tasks, options, () -> false);
                var other = new SeparateLora(llama.model(), start, tasks.subList(0, 1), options, () -> false)) {
            for (int i = 0; i < 4; i++) {
                first.iterate();
            }
            second.restore(first.state());
            while (second.done() < second.total()) {
                second.iterate();
            }
            List<float[]> resumed = slots(second);
            assertThat(resumed.get(0)).isEqualTo(expected.get(0));
            assertThat(resumed.get(1)).isEqualTo(expected.get(1));
            assertThatThrownBy(() -> other.restore(first.state())).isInstanceOf(InputException.class).hasMessageContaining("2 tasks");
        }
    }

    @ParameterizedTest
    @EnumSource(InnerOptimizer.class)
    void aTaskThatDivergesLeavesTheOthersAlone(InnerOptimizer algorithm) {
        // Rates that the first steps survive, but no more than some.
        var rule = new TrainConfig.Optimizer(algorithm == InnerOptimizer.SGD ? 1e18 : 1e15, 0.9, 0.999, 1e-8, 0, 0,
                Schedule.CONSTANT, 0, 0, 0);
        var options = new FineTuning(0, 1, 1, algorithm, AdapterPart.ALL, rule, 7, 0);
        try (LoraAdapter start = llama.adapter();
                var training = new SeparateLora(llama.model(), start, List.of(TinyLlama.task("short", 1), TinyLlama.task("long", 9)), options, () -> false)) {
            training.iterate();
            assertThat(training.failures()).isEmpty();
            List<float[]> afterOne = slots(training);
            while (training.done() < training.total()) {
                training.iterate();
            }
            assertThat(training.failures()).containsOnlyKeys("long");
            assertThat(training.failures().get("long")).startsWith("step 2: ");
            assertThat(slots(training).get(0)).isEqualTo(afterOne.get(0));
            assertThat(slots(training).get(1)).isEqualTo(afterOne.get(1));
            assertThat(training.state().notFinite()).isEmpty();
            try (var resumed = new SeparateLora(llama.model(), start, List.of(TinyLlama.task("short", 1), TinyLlama.task("long", 9)), options, () -> false)) {
                resumed.restore(training.state());
                assertThat(resumed.failures()).containsOnlyKeys("long");
            }
        }
    }

    @Test
    void aRateThatNoStepSurvivesLeavesEveryTaskWhereItBegan() {
        var rule = new TrainConfig.Optimizer(3e38, 0.9, 0.999, 1e-8, 0, 1, Schedule.CONSTANT, 0, 0, 0);
        try (LoraAdapter start = llama.adapter(); var training = new SeparateLora(llama.model(), start, List.of(TinyLlama.task("a", 2), TinyLlama.task("b", 3)),
                new FineTuning(3, 1, 2, InnerOptimizer.ADAMW, AdapterPart.ALL, rule, 0, 0), () -> false)) {
            while (training.done() < training.total()) {
                training.iterate();
            }
            assertThat(training.failures()).hasSize(2);
            for (float[] slot : slots(training)) {
                for (float value : slot) {
                    assertThat(Float.isFinite(value)).isTrue();
                }
            }
            assertThat(slots(training).get(1)).isEqualTo(slots(training).get(0));
        }
    }

    @Test
    void whatIsNoFineTuningIsRefused() {
        var rule = TrainConfig.DEFAULTS.optimizer();
        for (int[] bad : new int[][] {{-1, 1, 1}, {0, 0, 1}, {0, 1, 0}}) {
            assertThatThrownBy(() -> new FineTuning(bad[0], bad[1], bad[2], InnerOptimizer.ADAMW, AdapterPart.ALL, rule, 0, 0))
                    .as(Arrays.toString(bad)).isInstanceOf(IllegalArgumentException.class);
        }
    }
}
