package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** One A for all tasks and a B of each, trained together. */
class AsymmetricLoraTest {

    private static TinyLlama llama;

    @BeforeAll
    static void load() {
        llama = new TinyLlama();
    }

    @AfterAll
    static void close() {
        llama.close();
    }

    private static final List<EncodedTask> TASKS = List.of(TinyLlama.task("a", 11), TinyLlama.task("b", 6), TinyLlama.task("c", 2));

    private static TrainConfig config(String... overrides) {
        return TrainConfig.of("method=asymmetric-lora", "joint.epochs=2", "joint.batch_size=5", "optimizer.lr=0.02",
                "optimizer.weight_decay=0.1",
                "optimizer.clip=0.5", "optimizer.warmup_steps=2", "seed=7").with(overrides);
    }

    private static LoraLayout layout() {
        try (var adapter = llama.adapter()) {
            return (LoraLayout) adapter.layout();
        }
    }

    private static boolean isOfA(LoraLayout layout, int at) {
        return layout.sites().stream().anyMatch(site -> at >= site.offsetA() && at < site.offsetB());
    }

    private static List<float[]> trained(AsymmetricLora training) {
        return training.adapters().values().stream().map(adapter -> adapter.parameters().toFloats()).toList();
    }

    private static List<float[]> train(TrainConfig config, List<EncodedTask> tasks) {
        try (LoraAdapter start = llama.adapter(); var training = new AsymmetricLora(llama.model(), start, tasks, config,
                () -> false)) {
            while (training.done() < training.total()) {
                training.iterate();
            }
            training.conclude();
            return trained(training);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"compute.token_budget=0", "compute.token_budget=20", "optimizer.ema=0.8"})
    void ofOneTaskItIsJointLoraBitForBit(String setting) {
        TrainConfig config = config(setting);
        float[] ours = train(config, TASKS.subList(0, 1)).getFirst();
        try (LoraAdapter adapter = llama.adapter(); var joint = new JointLora(llama.model(), adapter, TASKS.subList(0, 1),
                config)) {
            float[] start = adapter.parameters().toFloats();
            while (joint.done() < joint.total()) {
                joint.iterate();
            }
            joint.conclude();
            assertThat(ours).isEqualTo(adapter.parameters().toFloats()).isNotEqualTo(start);
        }
    }

    /** Gradients of each task by itself, at its own adapter; all that is done with them is computed here, in double precision. */
    @ParameterizedTest
    @ValueSource(strings = {"compute.token_budget=0", "compute.token_budget=24"})
    void takesAdamWsStepsOnOneAAndABOfEachTask(String budget) {
        TrainConfig config = config(budget);
        LoraLayout layout = layout();
        int count = (int) layout.parameters();
        var samples = new MixedSamples(TASKS, config.joint(), config.seed());
        var reference = new Reference(layout);
        try (LoraAdapter start = llama.adapter(); var training = new AsymmetricLora(llama.model(), start, TASKS, config,
                () -> false)) {
            for (int step = 0; step < samples.steps(); step++) {
                List<MixedSamples.Sample> batch = samples.batch(step);
                IterationReport report = training.iterate();
                double norm = reference.step(batch, step + 1, config.optimizer().learningRate(step, samples.steps()));
                assertThat(report.loss()).isCloseTo(reference.loss, within(1e-5));
                assertThat(report.gradientNorm()).isCloseTo(norm, within(1e-5 * norm));
                assertThat(report.draws().stream().mapToInt(draw -> draw.query().size()).sum()).isEqualTo(batch.size());
            }
            List<float[]> ours = trained(training);
            for (int slot = 0; slot < TASKS.size(); slot++) {
                float[] theirs = reference.adapter(slot);
                assertThat(TinyLlama.relativeError(ours.get(slot), theirs)).as(TASKS.get(slot).name()).isLessThan(2e-5);
                assertThat(ours.get(slot)).isNotEqualTo(ours.get((slot + 1) % TASKS.size()));
            }
            for (int i = 0; i < count; i++) {
                if (isOfA(layout, i)) {
                    assertThat(ours.get(1)[i]).isEqualTo(ours.get(0)[i]);
                    assertThat(ours.get(2)[i]).isEqualTo(ours.get(0)[i]);
                }
            }
        }
    }

    /** A, the B of each task, and AdamW on both, as torch.optim.AdamW has it. */
    private static final class Reference {

        private final LoraLayout layout;
        private final int count;
        private final double[][] values; // of each task, A in that of task 0 alone
        private final double[][] m;
        private final double[][] v;
        private double loss;

        Reference(LoraLayout layout) {
            this.layout = layout;
            this.count = (int) layout.parameters();
            this.values = new double[TASKS.size()][count];
            this.m = new double[TASKS.size()][count];
            this.v = new double[TASKS.size()][count];
            try (var start = llama.adapter()) {
                float[] begin = start.parameters().toFloats();
                for (double[] of : values) {
                    Arrays.setAll(of, i -> begin[i]);
                }
            }
        }

        float[] adapter(int slot) {
            var all = new float[count];
            for (int i = 0; i < count; i++) {
                all[i] = (float) values[isOfA(layout, i) ? 0 : slot][i];
            }
            return all;
        }

        /** Returns the gradient's norm before clipping. */
        double step(List<MixedSamples.Sample> batch, int step, double lr) {
            var gradient = new double[TASKS.size()][count];
            long all = batch.stream().mapToLong(sample -> sample.example().lossTokens()).sum();
            loss = 0;
            for (int slot = 0; slot < TASKS.size(); slot++) {
                int of = slot;
                List<EncodedExample> examples = batch.stream().filter(sample
                        -> sample.slot() == of).map(MixedSamples.Sample::example).toList();
                if (examples.isEmpty()) {
                    continue;
                }
                double share = (double) examples.stream().mapToLong(EncodedExample::lossTokens).sum() / all;
                double[] ofTask = new double[1];
                float[] alone = gradient(adapter(slot), examples, ofTask);
                loss += share * ofTask[0];
                for (int i = 0; i < count; i++) {
                    gradient[isOfA(layout, i) ? 0 : slot][i] += share * alone[i];
                }
            }
            double norm = Math.sqrt(Arrays.stream(gradient).flatMapToDouble(Arrays::stream).map(g -> g * g).sum());
            double scale = Math.min(1, 0.5 / (norm + 1e-6));
            for (int slot = 0; slot < TASKS.size(); slot++) {
                for (int i = 0; i < count; i++) {
                    double g = gradient[slot][i] * scale;
                    m[slot][i] = 0.9 * m[slot][i] + 0.1 * g;
                    v[slot][i] = 0.999 * v[slot][i] + 0.001 * g * g;
                    double update = m[slot][i] / (1 - Math.pow(0.9, step)) / (Math.sqrt(v[slot][i] / (1 - Math.pow(0.999,
                            step))) + 1e-8);
                    values[slot][i] = values[slot][i] * (1 - lr * 0.1) - lr * update;
                }
            }
            return norm;
        }

        private float[] gradient(float[] adapter, List<EncodedExample> examples, double[] ofTask) {
            var limits = PackBuilder.limits(1, examples.size(), EncodedTask.longest(TASKS), 0);
            try (var plan = new BufferPlan(llama.device()); var start = llama.adapter()) {
                AdapterSlots slots = PassAccess.get().slots(plan, layout, 1);
                var losses = new LossLedger(plan, limits);
                plan.allocate();
                start.parameters().upload(adapter);
                try (var pass = new GradientPass(llama.model(), layout, limits, losses, () -> false)) {
                    slots.setAll(start.parameters());
                    pass.backward(List.of(examples), slots, AdapterPart.ALL, 0, ofTask);
                    pass.await();
                    return slots.gradients().toFloats();
                }
            }
        }
    }

    @Test
    void goesOnFromItsStateBitForBit() {
        TrainConfig config = config("optimizer.ema=0.9");
        List<float[]> expected = train(config, TASKS);
        try (LoraAdapter start = llama.adapter();
                var first = new AsymmetricLora(llama.model(), start, TASKS, config, () -> false);
                var second = new AsymmetricLora(llama.model(), start, TASKS, config, () -> false);
                var other = new AsymmetricLora(llama.model(), start, TASKS.subList(0, 2), config, () -> false)) {
            for (int i = 0; i < 5; i++) {
                first.iterate();
            }
            second.restore(first.state());
            while (second.done() < second.total()) {
                second.iterate();
            }
            second.conclude();
            List<float[]> resumed = trained(second);
            for (int slot = 0; slot < TASKS.size(); slot++) {
                assertThat(resumed.get(slot)).isEqualTo(expected.get(slot));
            }
            assertThatThrownBy(() -> other.restore(first.state())).isInstanceOf(InputException.class);
        }
    }

    @Test
    void aStepThatIsNotFiniteLeavesNoTrace() {
        TrainConfig config = config("optimizer.lr=3e37", "optimizer.warmup_steps=0", "optimizer.weight_decay=0",
                "optimizer.schedule=constant",
                "optimizer.beta1=0");
        try (LoraAdapter start = llama.adapter(); var training = new AsymmetricLora(llama.model(), start, TASKS, config,
                () -> false)) {
            assertThatThrownBy(() -> {
                while (training.done() < training.total()) {
                    training.iterate();
                }
            }).isInstanceOf(TrainingDivergedException.class).hasMessageContaining("lower optimizer.lr");
            assertThat(training.failures()).isEmpty();
            assertThat(training.done()).isPositive();
            assertThat(training.state().step()).isEqualTo(training.done());
        }
    }

    @Test
    void aMixtureIsNoBeginning() {
        var lora = new LoraConfig(2, 4, false, 0, TargetModules.allLinear());
        try (LoraAdapter mixture = LoraAdapter.create(llama.device(), new MixtureLayout(llama.model().config(), lora, 2), 0)) {
            assertThatThrownBy(() -> new AsymmetricLora(llama.model(), mixture, TASKS, config(),
                    () -> false)).isInstanceOf(InputException.class)
                    .hasMessageContaining("begin from LoRA");
        }
        assertThatThrownBy(() -> config("adapter.kind=mixture")).isInstanceOf(InputException.class)
                .hasMessageContaining("adapter.kind is mixture, but method asymmetric-lora");
    }
}
