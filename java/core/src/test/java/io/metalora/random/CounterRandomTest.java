package io.metalora.random;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.random.CounterRandom.Purpose;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class CounterRandomTest {

    @Test
    void isTheSameForTheSameKeyAndAnotherForAnyOther() {
        Set<Long> firsts = new HashSet<>();
        for (long seed = 0; seed < 4; seed++) {
            for (Purpose purpose : Purpose.values()) {
                for (long iteration = -1; iteration < 4; iteration++) {
                    for (String task : new String[] {"", "a", "b", "ab"}) {
                        long first = new CounterRandom(seed, purpose, iteration, task).nextLong();
                        assertThat(new CounterRandom(seed, purpose, iteration, task).nextLong()).isEqualTo(first);
                        assertThat(firsts.add(first)).isTrue();
                    }
                }
            }
        }
    }

    /** Changing the generator would break the resuming of old runs and the comparison with old results. */
    @Test
    void neverChangesItsWords() {
        var random = new CounterRandom(42, Purpose.EPISODE, 7, "eng_Latn");
        assertThat(new long[] {random.nextLong(), random.nextLong()})
                .containsExactly(referenceWord(42, 3, 7, "eng_Latn", 1), referenceWord(42, 3, 7, "eng_Latn", 2));
    }

    /** The documented definition, with SplitMix64's stream written as java.util.SplittableRandom seeds it. */
    private static long referenceWord(long seed, int purpose, long iteration, String task, long i) {
        long golden = 0x9E3779B97F4A7C15L;
        long key = mix(mix(mix(seed + golden) + purpose * golden) + (iteration + 1) * golden);
        long hash = 0xCBF29CE484222325L;
        for (char c : task.toCharArray()) {
            hash ^= c;
            hash *= 0x100000001B3L;
        }
        return mix(mix(key + hash) + i * golden);
    }

    private static long mix(long z) {
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    @Test
    void drawsUniformly() {
        int[] counts = new int[7];
        var random = new CounterRandom(1, Purpose.TASKS, 0);
        for (int i = 0; i < 70_000; i++) {
            counts[random.nextInt(7)]++;
        }
        // Standard deviation of a count is 93; five of them.
        assertThat(Arrays.stream(counts).boxed()).allSatisfy(count -> assertThat(count).isBetween(9535, 10465));
    }

    @Property(tries = 200)
    void drawsDistinctNumbersAndLargerDrawsContainSmaller(@ForAll long seed, @ForAll @IntRange(min = 1, max = 300) int bound) {
        int[] all = new CounterRandom(seed, Purpose.SUBSET, 0, "t").distinct(bound, bound);
        int[] some = new CounterRandom(seed, Purpose.SUBSET, 0, "t").distinct(bound / 2, bound);

        assertThat(Arrays.stream(all).sorted().toArray()).isEqualTo(java.util.stream.IntStream.range(0, bound).toArray());
        assertThat(some).isEqualTo(Arrays.copyOf(all, bound / 2));
    }
}
