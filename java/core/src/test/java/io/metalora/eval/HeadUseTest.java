package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.runtime.DType;
import io.metalora.runtime.host.Held;
import io.metalora.task.EncodedTask;
import io.metalora.train.TinyLlama;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CancellationException;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class HeadUseTest {
    private static final int HEADS = 3;

    private TinyLlama llama;
    private EncodedTask task;

    @BeforeEach
    void open() throws IOException {
        llama = new TinyLlama();
        task = TinyLlama.tasks().getFirst();
    }

    @AfterEach
    void close() {
        llama.close();
    }

    /** @param rows of each router, by which row of a random one they are; -1 for zeros */
    private HeadUse use(List<String> modules, int[] rows, EncodedTask of) {
        try (var adapter = mixture(modules, rows)) {
            return HeadUse.of(llama.model(), List.of(adapter), List.of(of), Integer.MAX_VALUE, () -> false).getFirst();
        }
    }

    private LoraAdapter mixture(List<String> modules, int[] rows) {
        var layout = new MixtureLayout(llama.model().config(), new LoraConfig(2, 4, false, 0, TargetModules.of(modules)), HEADS);
        var values = new float[Math.toIntExact(layout.parameters())];
        for (var site : layout.sites()) {
            var random = new Random(site.path().hashCode());
            var router = new float[HEADS * site.in()];
            for (int i = 0; i < router.length; i++) {
                router[i] = (float) random.nextGaussian();
            }
            for (int j = 0; j < HEADS; j++) {
                if (rows[j] >= 0 && !site.path().endsWith("up_proj")) { // which has no preference
                    System.arraycopy(router, rows[j] * site.in(), values, (int) site.offsetRouter() + j * site.in(), site.in());
                }
            }
        }
        var adapter = LoraAdapter.of(layout, llama.device().zeros(DType.F32, layout.parameters()));
        adapter.parameters().upload(values);
        return adapter;
    }

    @Test
    void headsWithoutARouterAreUsedAlike() {
        var use = use(List.of("q_proj", "down_proj"), new int[] {-1, -1, -1}, task);
        assertThat(use.task()).isEqualTo(task.name());
        assertThat(use.weights()).allSatisfy(w -> assertThat(w).isCloseTo(1.0 / HEADS, within(1e-6)));
    }

    @Test
    void theWeightsAreThoseOfTheRoutersRows() {
        var use = use(List.of("q_proj", "down_proj"), new int[] {0, 1, 2}, task);
        assertThat(use.weights().stream().mapToDouble(w -> w).sum()).isCloseTo(1, within(1e-6));
        assertThat(use.weights().get(0)).isNotCloseTo(use.weights().get(1), within(1e-3));
        var turned = use(List.of("q_proj", "down_proj"), new int[] {2, 0, 1}, task);
        for (int j = 0; j < HEADS; j++) {
            assertThat(turned.weights().get(j)).isCloseTo(use.weights().get((j + 2) % HEADS), within(1e-6));
        }
    }

    @Test
    void theMeanIsOverLinearsAndTokens() {
        var one = use(List.of("q_proj"), new int[] {0, 1, 2}, task);
        var both = use(List.of("q_proj", "up_proj"), new int[] {0, 1, 2}, task);
        for (int j = 0; j < HEADS; j++) {
            assertThat(both.weights().get(j)).isCloseTo((one.weights().get(j) + 1.0 / HEADS) / 2, within(1e-6));
        }

        double[] sums = new double[HEADS];
        long tokens = 0;
        for (int i = 0; i < task.examples().size(); i++) {
            var alone = new EncodedTask("one", task.examples().subList(i, i + 1), new int[] {i});
            var single = use(List.of("q_proj"), new int[] {0, 1, 2}, alone);
            tokens += single.tokens();
            for (int j = 0; j < HEADS; j++) {
                sums[j] += single.tokens() * single.weights().get(j);
            }
        }
        assertThat(one.tokens()).isEqualTo(tokens);
        for (int j = 0; j < HEADS; j++) {
            assertThat(one.weights().get(j)).isCloseTo(sums[j] / tokens, within(1e-6));
        }
    }

    /** Whether they have one mixture or one each, in as few passes as the tokens need. */
    @Test
    void tasksThatShareAPassAreMeasuredAsAlone() throws IOException {
        var tasks = TinyLlama.tasks();
        List<String> modules = List.of("q_proj", "down_proj");
        int[][] rows = {{0, 1, 2}, {2, 0, 1}, {1, 1, 0}};
        int[] asked = {0};
        try (var first = mixture(modules, rows[0]); var second = mixture(modules, rows[1]); var third = mixture(modules,
                rows[2])) {
            var own = HeadUse.of(llama.model(), List.of(first, second, third), tasks, Integer.MAX_VALUE, () -> ++asked[0] < 0);
            var shared = HeadUse.of(llama.model(), List.of(first, first, first), tasks, Integer.MAX_VALUE, () -> ++asked[0] < 0);
            int tokens = own.stream().mapToInt(use -> (int) use.tokens()).sum();
            assertThat(tokens).as("all fit one pass").isLessThan(512);
            assertThat(asked[0]).as("one pass each").isEqualTo(2);
            for (int t = 0; t < tasks.size(); t++) {
                requireAlike(own.get(t), use(modules, rows[t], tasks.get(t)));
                requireAlike(shared.get(t), use(modules, rows[0], tasks.get(t)));
            }
        }
    }

    @Test
    void memoryDoesNotGrowWithTheTasks() throws IOException {
        var tasks = Collections.nCopies(20, TinyLlama.tasks().getFirst());
        try (var held = new Held()) {
            var mixtures = new ArrayList<LoraAdapter>();
            tasks.forEach(task -> mixtures.add(held.add(() -> mixture(List.of("q_proj"), new int[] {0, 1, 2}), LoraAdapter::close)));
            HeadUse.of(llama.model(), mixtures.subList(0, 8), tasks.subList(0, 8), 1, () -> false);
            long ofEight = llama.device().info().memoryPeak();
            assertThat(HeadUse.of(llama.model(), mixtures, tasks, 1, () -> false)).hasSize(20)
                    .allSatisfy(use -> requireAlike(use, use(List.of("q_proj"), new int[] {0, 1, 2}, first(tasks.getFirst()))));
            assertThat(llama.device().info().memoryPeak()).isEqualTo(ofEight);
        }
    }

    private static EncodedTask first(EncodedTask task) {
        return new EncodedTask(task.name(), task.examples().subList(0, 1), new int[1]);
    }

    private static void requireAlike(HeadUse actual, HeadUse expected) {
        assertThat(actual.task()).isEqualTo(expected.task());
        assertThat(actual.tokens()).isEqualTo(expected.tokens());
        for (int j = 0; j < HEADS; j++) {
            assertThat(actual.weights().get(j)).isCloseTo(expected.weights().get(j), within(1e-6));
        }
    }

    @Test
    void manyTokensTakeSeveralPasses() throws IOException {
        var tasks = TinyLlama.tasks();
        var many = new EncodedTask("many", Collections.nCopies(200, task.examples().getFirst()), IntStream.range(0,
                200).toArray());
        try (var adapter = mixture(List.of("q_proj"), new int[] {0, 1, 2})) {
            var both = HeadUse.of(llama.model(), List.of(adapter, adapter), List.of(many, tasks.get(1)), 150, () -> false);
            requireAlike(both.get(1), use(List.of("q_proj"), new int[] {0, 1, 2}, tasks.get(1)));
            assertThat(both.get(0).tokens()).isEqualTo(150L * (task.examples().getFirst().length() - 1)).isGreaterThan(512);
            var one = new EncodedTask("one", task.examples().subList(0, 1), new int[1]);
            assertThat(both.get(0).weights().get(0)).isCloseTo(use(List.of("q_proj"), new int[] {0, 1, 2}, one).weights().get(0),
                    within(1e-6));
        }
    }

    @Test
    void stopsOnRequest() {
        var layout = new MixtureLayout(llama.model().config(), new LoraConfig(2, 4, false, 0, TargetModules.of("q_proj")), HEADS);
        try (var adapter = LoraAdapter.create(llama.device(), layout, 1)) {
            assertThatThrownBy(() -> HeadUse.of(llama.model(), List.of(adapter), List.of(task), 2, () -> true))
                    .isInstanceOf(CancellationException.class);
        }
    }
}
