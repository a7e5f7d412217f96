package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.LongRange;
import org.junit.jupiter.api.Test;

class EpisodeSamplerTest {

    private static EncodedTask task(String name, int samples) {
        return new EncodedTask(name, IntStream.range(0, samples).mapToObj(i -> new EncodedExample(new int[] {i, i}, 1)).toList(),
                IntStream.range(0, samples).map(i -> 10 * i).toArray());
    }

    private static EpisodeSampler sampler(List<EncodedTask> tasks, int n, int support, int query, long seed) {
        return new EpisodeSampler(tasks, Composition.uniform(tasks.size(), n, seed), support, query, seed);
    }

    @Property(tries = 200)
    void drawsDistinctTasksWithDisjointSupportAndQuery(@ForAll long seed, @ForAll @LongRange(min = 0, max = 10000) long iteration,
                                                       @ForAll @IntRange(min = 0, max = 6) int support,
                                                       @ForAll @IntRange(min = 1, max = 6) int query) {
        var tasks = List.of(task("a", 12), task("b", 13), task("c", 40), task("d", 12));

        List<Episode> episodes = sampler(tasks, 3, support, query, seed).draw(iteration);

        assertThat(episodes).extracting(Episode::task).doesNotHaveDuplicates().hasSize(3);
        for (Episode episode : episodes) {
            assertThat(episode.support()).hasSize(support);
            assertThat(episode.query()).hasSize(query);
            var drawn = new HashSet<Integer>();
            Stream.concat(episode.support().stream(), episode.query().stream()).forEach(drawn::add);
            assertThat(drawn).hasSize(support + query);
            assertThat(episode.queryLines()).isEqualTo(episode.query().stream().map(i -> 10 * i).toList());
        }
        assertThat(sampler(tasks, 3, support, query, seed).draw(iteration)).usingRecursiveComparison().isEqualTo(episodes);
    }

    @Test
    void drawsAllTasksEquallyOften() {
        int[] counts = new int[5];
        Composition sampler = Composition.uniform(5, 2, 3);
        for (int i = 0; i < 5000; i++) {
            for (int task : sampler.draw(i).stream().mapToInt(Composition.Drawn::task).toArray()) {
                counts[task]++;
            }
        }
        assertThat(Arrays.stream(counts).boxed()).allSatisfy(count -> assertThat(count).isBetween(1825, 2175));
    }

    /** Which other tasks there are does not change what a task gives: arms of a comparison see the same samples. */
    @Test
    void drawsOfATaskDoNotDependOnTheOthers() {
        Episode alone = sampler(List.of(task("a", 20)), 1, 3, 3, 5).draw(8).getFirst();
        List<Episode> together = sampler(List.of(task("0", 20), task("a", 20), task("b", 20)), 3, 3, 3, 5).draw(8);

        Episode same = together.stream().filter(e -> e.task().name().equals("a")).findFirst().orElseThrow();
        assertThat(same.support()).isEqualTo(alone.support());
        assertThat(same.query()).isEqualTo(alone.query());
    }

    @Test
    void refusesATaskWithTooFewSamples() {
        assertThatThrownBy(() -> sampler(List.of(task("small", 7)), 1, 4, 4, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("task small has 7 samples, fewer than the 4 of support and the 4 of query together");
    }
}
