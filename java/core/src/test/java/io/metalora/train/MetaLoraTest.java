package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.config.TrainConfig;
import io.metalora.runtime.InputException;
import io.metalora.task.Composition;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import io.metalora.task.EpisodeSampler;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MetaLoraTest {

    private static final double ROUNDING = 1e-5;

    private static TinyLlama llama;

    @BeforeAll
    static void load() {
        llama = new TinyLlama();
    }

    @AfterAll
    static void close() {
        llama.close();
    }

    /** Random sequences, all with {@code completion} loss tokens, of unequal length. */
    private static EncodedTask task(String name, int samples, int completion) {
        var random = new Random(name.hashCode());
        var examples = new ArrayList<EncodedExample>();
        for (int i = 0; i < samples; i++) {
            int prompt = 1 + random.nextInt(9);
            examples.add(new EncodedExample(random.ints(prompt + completion, 0, 256).toArray(), prompt));
        }
        return new EncodedTask(name, examples, IntStream.range(0, samples).toArray());
    }

    private static List<EncodedTask> tasks() {
        return List.of(task("a", 12, 3), task("b", 12, 3), task("c", 12, 3), task("d", 12, 3));
    }

    private static TrainConfig config(String... overrides) {
        return TrainConfig.of("meta.iterations=10", "meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_steps=2", "meta.inner_lr=0.05", "optimizer.lr=0.01", "seed=5").with(overrides);
    }

    private static float[] train(TrainConfig config, int iterations) {
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config)) {
            for (int i = 0; i < iterations; i++) {
                meta.iterate();
            }
            return shared.parameters().toFloats();
        }
    }

    @Test
    void withoutInnerStepsItIsJointLoraOnTheQuerySets() {
        // The two count their iterations differently, so a schedule would differ.
        TrainConfig config = config("meta.inner_steps=0", "optimizer.schedule=constant");
        float[] ours = train(config, 3);
        try (var shared = llama.adapter(); var joint = new JointLora(llama.model(), shared, tasks(), config.with("joint.epochs=30"))) {
            // Every query set has the same number of loss tokens: the mean over tasks is the mean over tokens.
            var sampler = new EpisodeSampler(tasks(), Composition.uniform(4, 3, config.seed()), 0, 2, config.seed());
            for (int i = 0; i < 3; i++) {
                joint.step(sampler.draw(i).stream().flatMap(e -> e.queryExamples().stream()).toList(), List.of());
            }
            float[] theirs = shared.parameters().toFloats();
            assertThat(TinyLlama.relativeError(ours, theirs)).isLessThan(ROUNDING);
        }
    }

    @Test
    void oneTaskInOneSlotIsPlainLora() {
        List<EncodedTask> one = List.of(task("a", 12, 3));
        TrainConfig config = config("meta.inner_steps=0", "meta.tasks_per_iteration=1");
        try (var first = llama.adapter();
             var second = llama.adapter();
             var meta = new MetaLora(llama.model(), first, one, config);
             var plain = new JointLora(llama.model(), second, one, config.with("joint.epochs=5", "joint.batch_size=6"))) {
            assertThat(plain.total()).isEqualTo(meta.total());
            for (int i = 0; i < 3; i++) {
                int[] query = {2 * i, 2 * i + 1};
                var report = meta.iterate(List.of(new Episode(one.getFirst(), new int[0], query)));
                var step = plain.step(one.getFirst().examples().subList(2 * i, 2 * i + 2), List.of());
                assertThat(report.loss()).isEqualTo(step.loss());
                assertThat(report.gradientNorm()).isEqualTo(step.gradientNorm());
            }
            assertThat(first.parameters().toFloats()).isEqualTo(second.parameters().toFloats());
        }
    }

    @Test
    void packedEqualsOneByOne() throws IOException {
        List<List<EncodedExample>> supports = TinyLlama.episodes().getFirst().stream().map(Episode::supportExamples).toList();
        for (String inner : List.of("sgd", "adamw")) {
            TrainConfig config = config("meta.inner_optimizer=" + inner, "meta.inner_lr=0.02");
            try (var shared = llama.adapter()) {
                List<LoraAdapter> together = TaskAdaptation.adapt(llama.model(), shared, supports, 3, config);
                float[] start = shared.parameters().toFloats();
                for (int task = 0; task < supports.size(); task++) {
                    LoraAdapter alone = TaskAdaptation.adapt(llama.model(), shared, List.of(supports.get(task)), 3, config).getFirst();
                    float[] a = together.get(task).parameters().toFloats();
                    float[] b = alone.parameters().toFloats();
                    assertThat(a).isNotEqualTo(start);
                    assertThat(TinyLlama.relativeError(TinyLlama.minus(a, start), TinyLlama.minus(b, start))).isLessThan(ROUNDING);
                    alone.close();
                }
                together.forEach(LoraAdapter::close);
            }
        }
    }

    @Test
    void microBatchesGiveTheSameGradient() {
        float[] whole = train(config("compute.token_budget=4000"), 3);
        float[] split = train(config("compute.token_budget=12"), 3);

        assertThat(TinyLlama.relativeError(split, whole)).isLessThan(ROUNDING);
    }

    @Test
    void sameSeedSameBits() {
        for (String dropout : List.of("0", "0.3")) {
            // llama.adapter() is read from a file with dropout 0, so the dropout case needs an adapter of its own.
            float[] first = trainFresh(dropout, 5);
            assertThat(trainFresh(dropout, 5)).isEqualTo(first);
            assertThat(trainFresh(dropout, 6)).isNotEqualTo(first);
        }
        assertThat(trainFresh("0.3", 5)).isNotEqualTo(trainFresh("0", 5));
    }

    private static float[] trainFresh(String dropout, long seed) {
        TrainConfig config = config("adapter.dropout=" + dropout, "seed=" + seed);
        var layout = new LoraLayout(llama.model().config(), config.adapter().lora());
        try (var shared = LoraAdapter.create(llama.device(), layout, 1);
             var meta = new MetaLora(llama.model(), shared, tasks(), config)) {
            for (int i = 0; i < 4; i++) {
                meta.iterate();
            }
            return shared.parameters().toFloats();
        }
    }

    @Test
    void goesOnFromAStateBitForBit() {
        TrainConfig config = config();
        float[] straight = train(config, 6);
        TrainerState state;
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config)) {
            for (int i = 0; i < 3; i++) {
                meta.iterate();
            }
            state = meta.state();
        }
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config)) {
            meta.restore(state);
            while (meta.done() < 6) {
                meta.iterate();
            }
            assertThat(shared.parameters().toFloats()).isEqualTo(straight);
            var other = new TrainerState(1, new float[3], new float[3], new float[3], Composition.STATELESS);
            assertThatThrownBy(() -> meta.restore(other)).isInstanceOf(InputException.class).hasMessageContaining("3 parameters");
        }
    }

    @Test
    void learns() {
        // Every completion of a task is the task's own token: easy to learn, and to adapt to.
        var tasks = new ArrayList<EncodedTask>();
        for (int t = 0; t < 3; t++) {
            int answer = 100 + t;
            var examples = task("t" + t, 12, 1).examples().stream().map(e -> {
                int[] ids = e.ids().clone();
                ids[ids.length - 1] = answer;
                return new EncodedExample(ids, e.promptLength());
            }).toList();
            tasks.add(new EncodedTask("t" + t, examples, IntStream.range(0, 12).toArray()));
        }
        TrainConfig config = config("meta.iterations=40", "meta.inner_lr=0.1", "meta.support_after_every=1");
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks, config)) {
            IterationReport first = meta.iterate();
            IterationReport last = first;
            while (meta.done() < meta.total()) {
                last = meta.iterate();
            }
            assertThat(last.loss()).isLessThan(0.5 * first.loss());
            assertThat(last.supportLossAfter().orElseThrow()).isLessThan(last.supportLossBefore().orElseThrow());
            assertThat(last.gram().cosine(1, 1)).isCloseTo(1, within(1e-9));
        }
    }

    @Test
    void reportsDivergenceAndLeavesTheSharedAdapterAlone() {
        try (var shared = llama.adapter();
             var meta = new MetaLora(llama.model(), shared, tasks(), config("meta.inner_lr=1e30", "meta.inner_steps=3"))) {
            float[] before = shared.parameters().toFloats();
            assertThatThrownBy(meta::iterate).isInstanceOf(TrainingDivergedException.class)
                    .hasMessageContaining("iteration 1").hasMessageContaining("lower meta.inner_lr");
            assertThat(shared.parameters().toFloats()).isEqualTo(before);
            assertThat(meta.done()).isZero();
        }
    }

    @Test
    void stopsBetweenPassesWithoutHalfAnIteration() {
        int[] passes = {0};
        try (var shared = llama.adapter();
             var meta = new MetaLora(llama.model(), shared, tasks(), config(), () -> ++passes[0] == 5)) {
            meta.iterate();
            float[] after = shared.parameters().toFloats();
            assertThatThrownBy(meta::iterate).isInstanceOf(CancellationException.class);
            assertThat(shared.parameters().toFloats()).isEqualTo(after);
            assertThat(meta.done()).isEqualTo(1);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"sgd", "adamw"})
    void anAbandonedIterationLeavesNoTrace(String inner) {
        TrainConfig config = config("compute.token_budget=16", "meta.support_after_every=1", "meta.inner_optimizer=" + inner);
        record Iteration(IterationReport report, TrainerState state) {
        }
        var straight = new ArrayList<Iteration>();
        int[] asked = {0};
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config, () -> {
            asked[0]++;
            return false;
        })) {
            for (int i = 0; i < 2; i++) {
                straight.add(new Iteration(meta.iterate(), meta.state()));
            }
        }
        int passes = asked[0] / 2;
        assertThat(passes).isGreaterThan(6);
        for (int at = 1; at <= passes; at += 2) {
            int stopAt = passes + at; // in the second iteration
            asked[0] = 0;
            boolean[] fails = {at % 4 == 3};
            try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config, () -> {
                if (++asked[0] == stopAt && fails[0]) {
                    throw new IllegalStateException("a failure");
                }
                return asked[0] == stopAt;
            })) {
                meta.iterate();
                assertThatThrownBy(meta::iterate).isInstanceOf(fails[0] ? IllegalStateException.class : CancellationException.class);
                assertThat(meta.state()).usingRecursiveComparison().isEqualTo(straight.getFirst().state);
                var report = meta.iterate();
                assertThat(report).usingRecursiveComparison().ignoringFields("seconds").isEqualTo(straight.get(1).report);
                assertThat(meta.state()).usingRecursiveComparison().isEqualTo(straight.get(1).state);
            }
        }
    }

    @Test
    void anAbandonedStepOfJointLoraLeavesNoTrace() {
        TrainConfig config = config("compute.token_budget=16", "joint.batch_size=8");
        IterationReport straight;
        TrainerState state;
        try (var shared = llama.adapter(); var joint = new JointLora(llama.model(), shared, tasks(), config)) {
            straight = joint.iterate();
            state = joint.state();
        }
        int[] asked = {0};
        try (var shared = llama.adapter(); var joint = new JointLora(llama.model(), shared, tasks(), config, () -> ++asked[0] == 3)) {
            assertThatThrownBy(joint::iterate).isInstanceOf(CancellationException.class);
            assertThat(joint.iterate()).usingRecursiveComparison().ignoringFields("seconds").isEqualTo(straight);
            assertThat(joint.state()).usingRecursiveComparison().isEqualTo(state);
        }
    }

    /** Rate times weight decay overflows, where neither does by itself. */
    @Test
    void aStepThatWouldNotBeFiniteIsNotTaken() {
        TrainConfig config = config("optimizer.schedule=constant", "meta.inner_steps=0", "optimizer.lr=3e37", "optimizer.weight_decay=1e10");
        var layout = new LoraLayout(llama.model().config(), config.adapter().lora());
        try (var shared = LoraAdapter.create(llama.device(), layout, 1);
             var meta = new MetaLora(llama.model(), shared, tasks(), config);
             var joint = new JointLora(llama.model(), shared, tasks(), config)) {
            float[] before = shared.parameters().toFloats();
            for (Trainer trainer : List.of(meta, joint)) {
                assertThatThrownBy(trainer::iterate).isInstanceOf(TrainingDivergedException.class)
                        .hasMessageContaining("step 1: with a rate of").hasMessageContaining("lower optimizer.lr or optimizer.weight_decay");
                assertThat(trainer.done()).isZero();
                assertThat(trainer.state().parameters()).isEqualTo(before);
                assertThat(trainer.state().m()).containsOnly(0);
                assertThat(trainer.state().v()).containsOnly(0);
            }
        }
    }

    @Test
    void aStateThatIsNotFiniteIsNeitherGivenNorTaken() {
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config())) {
            TrainerState good = meta.state();
            for (int which = 0; which < 3; which++) {
                float[][] values = {good.parameters().clone(), good.m().clone(), good.v().clone()};
                values[which][7] = Float.POSITIVE_INFINITY;
                var bad = new TrainerState(3, values[0], values[1], values[2], Composition.STATELESS);
                assertThatThrownBy(() -> meta.restore(bad)).isInstanceOf(InputException.class)
                        .hasMessageContaining(List.of("parameters", "m", "v").get(which) + " 7 is Infinity");
                assertThat(meta.state()).usingRecursiveComparison().isEqualTo(good);
            }
            shared.parameters().upload(new float[] {Float.NaN}, 1);
            assertThatThrownBy(meta::state).isInstanceOf(TrainingDivergedException.class).hasMessageContaining("parameters 0 is NaN");
            assertThatThrownBy(meta::iterate).isInstanceOf(InputException.class).hasMessageContaining("the adapter that training begins from");
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"sgd", "adamw"})
    void anAdaptationThatIsNotFiniteIsNoAdapter(String inner) throws IOException {
        List<List<EncodedExample>> supports = TinyLlama.episodes().getFirst().stream().map(Episode::supportExamples).toList();
        long before = llama.device().info().memoryInUse();
        TrainConfig config = config("meta.inner_optimizer=" + inner, "meta.inner_lr=3e38", "meta.tasks_per_iteration=1");
        try (var shared = llama.adapter()) {
            assertThatThrownBy(() -> TaskAdaptation.adapt(llama.model(), shared, supports, 1, config))
                    .isInstanceOf(TrainingDivergedException.class).hasMessageContaining("task 1").hasMessageContaining("lower meta.inner_lr");
        }
        assertThat(llama.device().info().memoryInUse()).isEqualTo(before);
    }

    @Test
    void givesItsMemoryBack() {
        long before = llama.device().info().memoryInUse();
        train(config("meta.inner_optimizer=adamw"), 2);
        try (var shared = llama.adapter(); var joint = new JointLora(llama.model(), shared, tasks(), config())) {
            joint.iterate();
        }
        assertThat(llama.device().info().memoryInUse()).isEqualTo(before);
    }

    @Test
    void refusesMoreTasksThanThereAre() {
        try (var shared = llama.adapter()) {
            assertThatThrownBy(() -> new MetaLora(llama.model(), shared, tasks(), config("meta.tasks_per_iteration=5")))
                    .isInstanceOf(InputException.class).hasMessageContaining("meta.tasks_per_iteration is 5").hasMessageContaining("only 4");
            assertThatThrownBy(() -> new MetaLora(llama.model(), shared, tasks(), config("compute.token_budget=3")))
                    .isInstanceOf(InputException.class).hasMessageContaining("raise compute.token_budget");
        }
    }

    @Test
    void jointLoraSeesEverySampleOnceAnEpoch() {
        TrainConfig config = config("joint.epochs=2", "joint.batch_size=7");
        try (var shared = llama.adapter(); var joint = new JointLora(llama.model(), shared, tasks(), config)) {
            assertThat(joint.total()).isEqualTo(14); // 48 samples: 6 batches of 7 and one of 6, twice
            var epochs = List.of(new ArrayList<String>(), new ArrayList<String>());
            while (joint.done() < joint.total()) {
                int epoch = (int) (joint.done() / 7);
                for (var draw : joint.iterate().draws()) {
                    draw.query().forEach(line -> epochs.get(epoch).add(draw.task() + line));
                }
            }
            assertThat(epochs.get(0)).hasSize(48).doesNotHaveDuplicates();
            assertThat(epochs.get(1)).containsExactlyInAnyOrderElementsOf(epochs.get(0)).isNotEqualTo(epochs.get(0));
        }
    }

    /** So that gradients may come from elsewhere. */
    @Test
    void anIterationIsItsGradientsAndAStep() {
        TrainConfig config = config("meta.tasks_per_iteration=1");
        List<Episode> batch = List.of(new Episode(tasks().getFirst(), new int[] {0, 1, 2}, new int[] {3, 4}));
        try (var first = llama.adapter();
             var second = llama.adapter();
             var whole = new MetaLora(llama.model(), first, tasks(), config);
             var halves = new MetaLora(llama.model(), second, tasks(), config)) {
            for (int i = 0; i < 3; i++) {
                double norm = halves.apply(halves.gradients(batch).view(0, second.layout().parameters()));
                assertThat(norm).isEqualTo(whole.iterate(batch).gradientNorm());
                assertThat(halves.done()).isEqualTo(i + 1);
                assertThat(second.parameters().toFloats()).isEqualTo(first.parameters().toFloats());
            }
        }
    }

    @Test
    void reptileGoesTowardsTheAdaptedParameters() {
        TrainConfig config = config("meta.outer=reptile");
        var episodes = new EpisodeSampler(tasks(), Composition.uniform(4, 3, config.seed()), 3, 2, config.seed());
        List<Episode> batch = episodes.draw(0);
        try (var shared = llama.adapter(); var meta = new MetaLora(llama.model(), shared, tasks(), config)) {
            float[] start = shared.parameters().toFloats();
            float[] directions = meta.gradients(batch).toFloats();
            List<LoraAdapter> adapted = TaskAdaptation.adapt(llama.model(), shared, batch.stream().map(Episode::supportExamples).toList(),
                    config.meta().innerSteps(), config);
            for (int i = 0; i < adapted.size(); i++) {
                float[] direction = Arrays.copyOfRange(directions, i * start.length, (i + 1) * start.length);
                float[] expected = TinyLlama.minus(start, adapted.get(i).parameters().toFloats());
                assertThat(TinyLlama.relativeError(direction, expected)).isLessThan(ROUNDING);
                adapted.get(i).close();
            }
            var report = meta.iterate(batch);
            assertThat(report.tasks()).allSatisfy(task -> assertThat(task.queryLoss()).isPositive());
            assertThat(shared.parameters().toFloats()).isNotEqualTo(start);
        }
    }

    /** Weights from the Gram matrix: here all of it on the task with the longest gradient. */
    @Test
    void theTasksGradientsBecomeOneAsTheAggregationWeighsThem() {
        TrainConfig config = config();
        var chosen = new int[1];
        var longest = new Aggregation() {
            @Override
            public boolean dependsOnGradients() {
                return true;
            }

            @Override
            public void weights(double[] gram, long iteration, int[] samples, float[] weights) {
                int n = weights.length;
                chosen[0] = IntStream.range(0, n).boxed().max(Comparator.comparingDouble(i -> gram[i * n + i])).orElseThrow();
                Arrays.fill(weights, 0);
                weights[chosen[0]] = 1;
            }
        };
        var episodes = new EpisodeSampler(tasks(), Composition.uniform(4, 3, config.seed()), 3, 2, config.seed());
        try (var first = llama.adapter();
             var second = llama.adapter();
             var ours = new MetaLora(llama.model(), first, tasks(), config, () -> false, episodes, longest);
             var plain = new MetaLora(llama.model(), second, tasks(), config)) {
            List<Episode> batch = episodes.draw(0);
            var report = ours.iterate(batch);
            long count = second.layout().parameters();
            plain.apply(plain.gradients(batch).view(chosen[0] * count, count));
            assertThat(first.parameters().toFloats()).isEqualTo(second.parameters().toFloats());
            assertThat(report.tasks().stream().mapToDouble(IterationReport.TaskReport::gradientNorm).max().orElseThrow())
                    .isEqualTo(report.tasks().get(chosen[0]).gradientNorm());
        }
    }

    /** Draws the tasks that come next in a circle, one further with every draw. */
    private static final class Circle implements Composition {
        private float next;

        @Override
        public List<Drawn> draw(long iteration) {
            next++;
            return List.of(new Drawn((int) next % 4, 1), new Drawn((int) (next + 1) % 4, 1), new Drawn((int) (next + 2) % 4, 1));
        }

        @Override
        public float[] state() {
            return new float[] {next};
        }

        @Override
        public void restore(float[] state) {
            next = state[0];
        }
    }

    @Test
    void theStateOfTheCompositionIsTheTrainers() {
        TrainConfig config = config();
        var reports = new ArrayList<IterationReport>();
        TrainerState kept = null;
        for (int from : new int[] {0, 2}) {
            var episodes = new EpisodeSampler(tasks(), new Circle(), 3, 2, config.seed());
            try (var shared = llama.adapter();
                 var meta = new MetaLora(llama.model(), shared, tasks(), config, () -> false, episodes, Aggregation.MEAN)) {
                if (from > 0) {
                    meta.restore(kept);
                }
                while (meta.done() < 4) {
                    reports.add(meta.iterate());
                    if (from == 0 && meta.done() == 2) {
                        kept = meta.state();
                    }
                }
            }
        }
        assertThat(kept.composition()).containsExactly(2);
        for (int i = 0; i < 2; i++) {
            assertThat(reports.get(4 + i).draws()).usingRecursiveComparison().isEqualTo(reports.get(2 + i).draws());
            assertThat(reports.get(4 + i).loss()).isEqualTo(reports.get(2 + i).loss());
        }
    }
}
