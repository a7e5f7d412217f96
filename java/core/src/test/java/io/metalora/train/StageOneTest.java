package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.config.TrainConfig;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.Episode;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What stage 1 adapts, its rates by Linear, fixed and learned, and the average that training gives. */
class StageOneTest {

    private static TinyLlama llama;
    private static List<List<Episode>> episodes;

    @BeforeAll
    static void load() throws IOException {
        llama = new TinyLlama();
        episodes = TinyLlama.episodes();
    }

    @AfterAll
    static void close() {
        llama.close();
    }

    private static TrainConfig config(String... overrides) {
        return TrainConfig.of("meta.iterations=10", "meta.tasks_per_iteration=3", "meta.support_size=3", "meta.query_size=2",
                "meta.inner_steps=2", "meta.inner_lr=0.05", "optimizer.lr=0.01", "seed=5").with(overrides);
    }

    private static LoraLayout layout() {
        try (var adapter = llama.adapter()) {
            return (LoraLayout) adapter.layout();
        }
    }

    private static float[] shared() {
        try (var adapter = llama.adapter()) {
            return adapter.parameters().toFloats();
        }
    }

    /** From the given parameters, on the support set of the first task. */
    private static float[] adapted(float[] from, int steps, TrainConfig config) {
        List<List<EncodedExample>> support = List.of(episodes.getFirst().getFirst().supportExamples());
        try (var start = llama.adapter()) {
            start.parameters().upload(from);
            try (LoraAdapter adapted = TaskAdaptation.adapt(llama.model(), start, support, steps, config).getFirst()) {
                return adapted.parameters().toFloats();
            }
        }
    }

    /** A copy with the A of another vector. */
    private static float[] withA(float[] values, float[] other) {
        float[] mixed = values.clone();
        for (var site : layout().sites()) {
            System.arraycopy(other, (int) site.offsetA(), mixed, (int) site.offsetA(), (int) (site.offsetB() - site.offsetA()));
        }
        return mixed;
    }

    /** Against steps on all of the adapter, after each of which A is put back. */
    @Test
    void onBAloneAStaysAsItIs() {
        TrainConfig b = config("meta.adapts=b");
        float[] start = shared();
        float[] ours = adapted(start, 2, b);
        float[] first = withA(adapted(start, 1, config()), start);
        float[] second = withA(adapted(first, 1, config()), start);
        assertThat(ours).isEqualTo(second).isNotEqualTo(start).isNotEqualTo(first);

        float[] adamW = adapted(start, 2, b.with("meta.inner_optimizer=adamw", "meta.inner_clip=0.1"));
        assertThat(withA(adamW, start)).isEqualTo(adamW).isNotEqualTo(start);
    }

    /** A random mixture: with B of zeros, A and router had no gradient. */
    private static LoraAdapter mixture() {
        var targets = TargetModules.of("q_proj", "v_proj", "up_proj");
        var layout = new MixtureLayout(llama.model().config(), new LoraConfig(2, 8, false, 0, targets), 3);
        var random = new Random(8);
        var values = new float[Math.toIntExact(layout.parameters())];
        for (int i = 0; i < values.length; i++) {
            values[i] = 0.2f * (float) random.nextGaussian();
        }
        var adapter = LoraAdapter.of(layout, llama.device().zeros(DType.F32, values.length));
        adapter.parameters().upload(values);
        return adapter;
    }

    /** A copy with what stage 1 leaves as it is of another vector. */
    private static float[] withShared(AdapterLayout layout, String adapts, float[] values, float[] other) {
        float[] mixed = values.clone();
        for (var site : ((MixtureLayout) layout).sites()) {
            System.arraycopy(other, (int) site.offsetA(), mixed, (int) site.offsetA(), site.rank() * site.in());
            if (adapts.equals("b")) {
                System.arraycopy(other, (int) site.offsetRouter(), mixed, (int) site.offsetRouter(), site.heads() * site.in());
            }
        }
        return mixed;
    }

    /** Against steps on all of the mixture, after each of which what is not adapted is put back. */
    @ParameterizedTest
    @CsvSource({"b, sgd, 2", "b, adamw, 1", "heads-and-router, sgd, 2", "heads-and-router, adamw, 1"})
    void ofAMixtureWhatIsNotAdaptedStaysAsItIs(String adapts, String optimizer, int steps) {
        TrainConfig all = config("adapter.kind=mixture", "meta.inner_optimizer=" + optimizer);
        List<List<EncodedExample>> support = List.of(episodes.getFirst().getFirst().supportExamples());
        try (LoraAdapter start = mixture(); LoraAdapter reference = mixture();
             LoraAdapter ours = TaskAdaptation.adapt(llama.model(), start, support, steps, all.with("meta.adapts=" + adapts))
                     .getFirst()) {
            float[] before = start.parameters().toFloats();
            for (int step = 0; step < steps; step++) {
                try (var whole = TaskAdaptation.adapt(llama.model(), reference, support, 1, all).getFirst()) {
                    float[] moved = whole.parameters().toFloats();
                    reference.parameters().upload(withShared(start.layout(), adapts, moved, before));
                }
            }
            float[] after = ours.parameters().toFloats();
            assertThat(after).isEqualTo(reference.parameters().toFloats());
            for (var site : start.layout().sites()) {
                for (var matrix : site.matrices()) {
                    boolean moves = matrix.name().startsWith("lora_B")
                            || adapts.equals("heads-and-router") && matrix.name().equals("lora_route");
                    assertThat(Arrays.equals(matrix.gather(after, 0), matrix.gather(before, 0))).as(matrix.name())
                            .isEqualTo(!moves);
                }
            }
        }
    }

    /** What the tasks share is trained by the query sets, whatever stage 1 leaves as it is. */
    @ParameterizedTest
    @ValueSource(strings = {"b", "heads-and-router"})
    void ofAMixtureTheOuterStepIsOfAll(String adapts) throws IOException {
        try (var adapter = mixture(); var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(),
                config("adapter.kind=mixture", "meta.adapts=" + adapts))) {
            float[] start = adapter.parameters().toFloats();
            meta.iterate(episodes.getFirst());
            float[] after = adapter.parameters().toFloats();
            for (var site : adapter.layout().sites()) {
                for (var matrix : site.matrices()) {
                    assertThat(matrix.gather(after, 0)).as(matrix.name()).isNotEqualTo(matrix.gather(start, 0));
                }
            }
        }
    }

    @Test
    void loraHasNoRouterToAdapt() {
        try (var start = llama.adapter()) {
            List<List<EncodedExample>> support = List.of(episodes.getFirst().getFirst().supportExamples());
            TrainConfig config = config("adapter.kind=mixture", "meta.adapts=heads-and-router");
            assertThatThrownBy(() -> TaskAdaptation.adapt(llama.model(), start, support, 1, config))
                    .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("has no router");
        }
    }

    /** The outer step is of all: what the tasks share has a gradient from their query sets. */
    @Test
    void onBAloneTheSharedAIsTrainedByTheQuerySets() {
        try (var adapter = llama.adapter(); var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(),
                config("meta.adapts=b"))) {
            float[] start = adapter.parameters().toFloats();
            meta.iterate(episodes.getFirst());
            float[] after = adapter.parameters().toFloats();
            for (var site : layout().sites()) {
                int a = (int) site.offsetA();
                int b = (int) site.offsetB();
                assertThat(Arrays.copyOfRange(after, a, b)).isNotEqualTo(Arrays.copyOfRange(start, a, b));
            }
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"sgd", "adamw"})
    void ofRatesByModuleEachLinearTakesItsOwn(String optimizer) {
        TrainConfig one = config("meta.inner_optimizer=" + optimizer);
        String first = layout().sites().getFirst().path();
        String leaf = layout().sites().get(1).path().replaceAll(".*\\.", "");
        float[] start = shared();
        float[] plain = adapted(start, 1, one);
        float[] ours = adapted(start, 1, one.with("meta.inner_rates=[" + first + "=0, " + leaf + "=0.1]"));
        for (AdapterLayout.Site linear : layout().sites()) {
            double factor = linear.path().equals(first) ? 0 : linear.path().endsWith("." + leaf) ? 2 : 1;
            for (int i = (int) linear.offset(); i < linear.offset() + linear.parameters(); i++) {
                assertThat((double) ours[i] - start[i]).isCloseTo(factor * ((double) plain[i] - start[i]), within(1e-7));
            }
        }
        assertThat(adapted(start, 3, one.with("meta.inner_lr=1", "meta.inner_rates=" + layout().sites().stream()
                .map(linear -> linear.path() + "=0.05").toList()))).isEqualTo(adapted(start, 3, one));
    }

    private static EpisodeGradients.Buffers allocated(BufferPlan plan, LoraAdapter adapter, PassLimits limits, TrainConfig config) {
        var buffers = EpisodeGradients.Buffers.in(plan, adapter.layout(), limits, config.meta());
        plan.allocate();
        return buffers;
    }

    /** With one inner step, against the dot products of support and query gradients in double precision. */
    @ParameterizedTest
    @CsvSource({"all, 0", "b, 0", "all, 0.5"})
    void theDerivativeByARateIsThatOfTheQueryLosses(String adapts, double clip) throws IOException {
        TrainConfig config = config("meta.inner_steps=1", "meta.inner_rate_lr=0.1", "meta.adapts=" + adapts,
                "meta.inner_clip=" + clip);
        List<Episode> batch = episodes.getFirst();
        float[] weights = {0.2f, 0.3f, 0.5f};
        PassLimits limits = PackBuilder.limits(3, 3, TinyLlama.tasks().stream().flatMap(task -> task.examples().stream())
                .mapToInt(EncodedExample::length).max().orElseThrow(), 0);
        try (var adapter = llama.adapter();
             var plan = new BufferPlan(llama.device());
             var gradients = new EpisodeGradients(llama.model(), adapter, limits, allocated(plan, adapter, limits, config),
                     config.meta(), () -> false);
             // Without inner steps the query gradient is that at the shared adapter.
             var plain = new MetaLora(llama.model(), adapter, TinyLlama.tasks(),
                     config("meta.inner_steps=0", "meta.query_size=3"))) {
            float[] support = plain.gradients(batch.stream().map(e -> new Episode(e.task(), new int[0], new int[] {0, 1, 2}))
                    .toList()).toFloats();
            gradients.queue(batch, false, 0);
            gradients.await(batch, 1);
            float[] query = gradients.slots().gradients().toFloats();
            int count = (int) adapter.layout().parameters();
            if (adapts.equals("b")) {
                for (int slot = 0; slot < 3; slot++) {
                    float[] onlyB = withA(Arrays.copyOfRange(support, slot * count, (slot + 1) * count), new float[count]);
                    System.arraycopy(onlyB, 0, support, slot * count, count);
                }
            }
            var linears = adapter.layout().sites();
            for (int i = 0; i < linears.size(); i++) {
                double expected = 0;
                for (int slot = 0; slot < 3; slot++) {
                    double norm = 0;
                    for (int j = 0; j < count; j++) {
                        norm += (double) support[slot * count + j] * support[slot * count + j];
                    }
                    double rate = 0.05 * (clip > 0 ? Math.min(1, clip / Math.sqrt(norm)) : 1);
                    int from = slot * count + (int) linears.get(i).offset();
                    for (int j = from; j < from + linears.get(i).parameters(); j++) {
                        expected -= weights[slot] * rate * support[j] * query[j];
                    }
                }
                assertThat(gradients.learned().derivative(i, weights))
                        .isCloseTo(expected, within(2e-3 * Math.abs(expected) + 1e-9));
            }
            adamTakesThem(gradients.learned(), weights);
        }
    }

    private static void adamTakesThem(LearnedRates learned, float[] weights) {
        int linears = learned.byPath().size();
        double[] s = new double[linears];
        double[] m = new double[linears];
        double[] v = new double[linears];
        for (int step = 1; step <= 3; step++) {
            float[] weighed = {weights[0] * step, weights[1], weights[2]};
            learned.learn(weighed, step);
            int i = 0;
            for (float rate : learned.byPath().values()) {
                double derivative = learned.derivative(i, weighed);
                m[i] = 0.9 * m[i] + 0.1 * derivative;
                v[i] = 0.999 * v[i] + 0.001 * derivative * derivative;
                s[i] -= 0.1 * m[i] / (1 - Math.pow(0.9, step)) / (Math.sqrt(v[i] / (1 - Math.pow(0.999, step))) + 1e-8);
                assertThat((double) rate).isCloseTo(0.05 * Math.exp(s[i]), within(1e-6));
                i++;
            }
        }
    }

    /** Far too small a rate grows, and the rates are reported as each iteration took them. */
    @Test
    void learnedRatesGrowWhereStageOneGainsByIt() throws IOException {
        TrainConfig config = config("meta.inner_lr=0.001", "meta.inner_rate_lr=0.2", "meta.iterations=8");
        try (var adapter = llama.adapter(); var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(), config)) {
            List<Episode> batch = episodes.getFirst().stream()
                    .map(e -> new Episode(e.task(), new int[] {0, 1, 2}, new int[] {0, 1})).toList();
            assertThat(meta.iterate(batch).innerRates().values()).containsOnly(0.001f);
            for (int i = 1; i < 8; i++) {
                assertThat(meta.iterate(batch).innerRates()).hasSameSizeAs(layout().sites());
            }
            assertThat(meta.learnedRates().values().stream().collect(Collectors.averagingDouble(rate -> rate)))
                    .isGreaterThan(0.0015);
        }
    }

    @Test
    void theAverageIsThatOfTheIterationsAndTakesTheAdaptersPlaceAtTheEnd() throws IOException {
        float[] last = null;
        for (double decay : new double[] {0, 0.8}) {
            try (var adapter = llama.adapter();
                 var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(), config("optimizer.ema=" + decay))) {
                double[] sum = new double[(int) adapter.layout().parameters()];
                double weight = 0;
                for (int i = 0; i < 5; i++) {
                    meta.iterate();
                    weight = decay * weight + 1;
                    float[] now = adapter.parameters().toFloats();
                    for (int j = 0; j < sum.length; j++) {
                        sum[j] = decay * sum[j] + now[j];
                    }
                }
                float[] trained = adapter.parameters().toFloats();
                meta.conclude();
                float[] kept = adapter.parameters().toFloats();
                for (int j = 0; j < sum.length; j++) {
                    assertThat((double) kept[j]).isCloseTo(sum[j] / weight, within(1e-6));
                }
                if (decay == 0) {
                    last = trained;
                    assertThat(kept).isEqualTo(trained);
                } else {
                    assertThat(trained).isEqualTo(last);
                    assertThat(kept).isNotEqualTo(trained);
                }
            }
        }
    }

    @Test
    void goesOnBitForBitWithAnAverageAndLearnedRates() throws IOException {
        TrainConfig config = config("optimizer.ema=0.7", "meta.inner_rate_lr=0.1", "meta.adapts=b");
        var ends = new ArrayList<TrainerState>();
        TrainerState kept = null;
        for (int from : new int[] {0, 2}) {
            try (var adapter = llama.adapter(); var meta = new MetaLora(llama.model(), adapter, TinyLlama.tasks(), config)) {
                if (from > 0) {
                    meta.restore(kept);
                }
                while (meta.done() < 5) {
                    if (from == 0 && meta.done() == 2) {
                        kept = meta.state();
                    }
                    meta.iterate();
                }
                ends.add(meta.state());
                float[] none = new float[0];
                TrainerState end = ends.getLast();
                var without = new TrainerState(5, end.parameters(), end.m(), end.v(), none).with(none, end.innerRates());
                assertThatThrownBy(() -> meta.restore(without)).isInstanceOf(InputException.class)
                        .hasMessageContaining("no average");
                var other = new TrainerState(5, end.parameters(), end.m(), end.v(), none).with(end.average(), new float[6]);
                assertThatThrownBy(() -> meta.restore(other)).isInstanceOf(InputException.class)
                        .hasMessageContaining("2 learned inner rates");
            }
        }
        assertThat(ends.get(1)).usingRecursiveComparison().isEqualTo(ends.get(0));
        assertThat(kept.average()).isNotEqualTo(kept.parameters());
    }

    @Test
    void aModuleThatIsNotAdaptedHasNoRate() {
        assertThatThrownBy(() -> MetaLora.requireModules(layout(), config("meta.inner_rates=[k_norm=0.1]")))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("meta.inner_rates names \"k_norm\", but no Linear of that name is adapted; those are such "
                        + "as model.layers.0");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "meta.adapts=b meta.inner_steps=0 | meta.adapts is b, but without inner steps nothing is adapted",
        "meta.adapts=b meta.outer=reptile | meta.adapts is b, but takes meta.outer: first-order: reptile would never move",
        "meta.adapts=b meta.outer=exact | exact goes through steps on all of it",
        "meta.adapts=a | \"a\" is not one of all, b, heads-and-router",
        "meta.adapts=heads-and-router | meta.adapts is heads-and-router, but adapters of adapter.kind: lora have no router",
        "adapter.kind=mixture meta.adapts=heads-and-router meta.outer=exact | is heads-and-router, but takes meta.outer: first",
        "meta.inner_rates=[q_proj=0.1] meta.inner_steps=0 | without inner steps there are no rates",
        "meta.inner_rates=[q_proj=0.1] meta.outer=exact | exact takes one rate for all",
        "meta.inner_rates=[q_proj=0.1,q_proj=0.2] | names \"q_proj\" twice",
        "meta.inner_rates=[q_proj] | meta.inner_rates holds \"q_proj\", but takes MODULE=RATE",
        "meta.inner_rates=[q_proj=-1] | a rate must be at least 0",
        "meta.inner_rates=[q_proj=fast] | expected a number, but is \"fast\"",
        "meta.inner_rate_lr=2 | must be between 0 (not learned) and 1",
        "meta.inner_rate_lr=0.1 meta.inner_steps=0 | are learned with meta.inner_steps of 1 or more and meta.outer: first-order",
        "meta.inner_rate_lr=0.1 meta.outer=reptile | are learned with",
        "meta.inner_rate_lr=0.1 meta.outer=exact | are learned with",
        "meta.inner_rate_lr=0.1 meta.inner_lr=0 | those are 0",
        "optimizer.ema=1 | optimizer.ema is 1.0, but must be at least 0 and below 1",
        "optimizer.ema=0.9 method=separate-lora | which method separate-lora has not",
    })
    void whatDoesNotGoTogetherIsRefused(String settings, String message) {
        assertThatThrownBy(() -> TrainConfig.of(settings.split(" "))).isInstanceOf(InputException.class)
                .hasMessageContaining(message);
    }
}
