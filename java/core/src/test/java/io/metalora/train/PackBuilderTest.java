package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.jqwik.api.Assume;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

class PackBuilderTest {

    private static EncodedExample example(int promptLength, int... ids) {
        return new EncodedExample(ids, promptLength);
    }

    /** A loss row for each trained token, and the mean over them. */
    @Test
    void lossRowsAreThoseOfTheMask() {
        var masked = new EncodedExample(new int[] {10, 11, 12, 13, 14, 15}, new boolean[] {false, false, true, false, true, true});
        TokenPack pack = new PackBuilder(new PassLimits(20, 4, 20, 1)).build(List.of(List.of(example(1, 20, 21), masked))).getFirst();

        assertThat(pack.tokens()).isEqualTo(6);
        assertThat(Arrays.copyOf(pack.rows(), pack.lossRows())).containsExactly(0, 2, 4, 5);
        assertThat(Arrays.copyOf(pack.targets(), pack.lossRows())).containsExactly(21, 12, 14, 15);
        assertThat(Arrays.copyOf(pack.rowSequence(), pack.lossRows())).containsExactly(0, 1, 1, 1);
        assertThat(pack.rowScale()[3]).isEqualTo(1f / 4);
    }

    @Test
    void laysSequencesOutBySlotWithoutPadding() {
        var slots = List.of(List.of(example(2, 10, 11, 12, 13), example(1, 20, 21)), List.<EncodedExample>of(),
                List.of(example(1, 30, 31, 32)));

        List<TokenPack> packs = new PackBuilder(new PassLimits(20, 5, 20, 3)).build(slots);

        assertThat(packs).hasSize(1);
        TokenPack pack = packs.getFirst();
        // The last token of a sequence is only a target: nothing is computed for it.
        assertThat(pack.tokens()).isEqualTo(6);
        assertThat(pack.sequences()).isEqualTo(3);
        assertThat(pack.slots()).isEqualTo(3);
        assertThat(Arrays.copyOf(pack.ids(), 6)).containsExactly(10, 11, 12, 20, 30, 31);
        assertThat(Arrays.copyOf(pack.positions(), 6)).containsExactly(0, 1, 2, 0, 0, 1);
        assertThat(Arrays.copyOf(pack.seqOffsets(), 4)).containsExactly(0, 3, 4, 6);
        assertThat(Arrays.copyOf(pack.slotOffsets(), 4)).containsExactly(0, 4, 4, 6);
        assertThat(pack.lossRows()).isEqualTo(5);
        assertThat(Arrays.copyOf(pack.rows(), 5)).containsExactly(1, 2, 3, 4, 5);
        assertThat(Arrays.copyOf(pack.targets(), 5)).containsExactly(12, 13, 21, 31, 32);
        assertThat(Arrays.copyOf(pack.rowScale(), 5)).containsExactly(1 / 3f, 1 / 3f, 1 / 3f, 1 / 2f, 1 / 2f);
        assertThat(Arrays.copyOf(pack.rowSequence(), 5)).containsExactly(0, 0, 1, 2, 2);
    }

    @Property(tries = 500)
    void limitsAreExactForAnyNumbers(@ForAll @IntRange(min = 1, max = PassLimits.MOST_SLOTS) int slots, @ForAll @IntRange(min = 1) int perSlot,
                                     @ForAll @IntRange(min = 2) int longest, @ForAll @IntRange(min = 2) int budget) {
        Assume.that(longest <= budget);
        var sequences = BigInteger.valueOf(slots).multiply(BigInteger.valueOf(perSlot));
        int tokens = sequences.multiply(BigInteger.valueOf(longest)).min(BigInteger.valueOf(budget)).intValueExact();
        if (tokens > PassLimits.MOST) {
            assertThatThrownBy(() -> PackBuilder.limits(slots, perSlot, longest, budget)).isInstanceOf(InputException.class)
                    .hasMessageContaining(tokens + " tokens");
        } else {
            assertThat(PackBuilder.limits(slots, perSlot, longest, budget))
                    .isEqualTo(new PassLimits(tokens, sequences.min(BigInteger.valueOf(tokens)).intValueExact(), tokens, slots));
        }
    }

    @Property(tries = 200)
    void splitsWithoutLosingOrChangingAnything(@ForAll @IntRange(min = 1, max = 5) int slotCount,
                                               @ForAll @IntRange(min = 12, max = 60) int budget, @ForAll long seed) {
        var random = new Random(seed);
        var slots = new ArrayList<List<EncodedExample>>();
        for (int slot = 0; slot < slotCount; slot++) {
            var examples = new ArrayList<EncodedExample>();
            for (int i = random.nextInt(7); i > 0; i--) {
                int length = 2 + random.nextInt(11);
                examples.add(new EncodedExample(random.ints(length, 0, 1000).toArray(), 1 + random.nextInt(length - 1)));
            }
            slots.add(examples);
        }
        var builder = new PackBuilder(new PassLimits(budget, 40, budget, slotCount));
        builder.build(List.of(List.of(example(1, 1, 2, 3)))); // what an earlier batch left behind must not show

        var read = new ArrayList<List<EncodedExample>>();
        slots.forEach(slot -> read.add(new ArrayList<>()));
        double[] scale = new double[slotCount];
        for (TokenPack pack : builder.build(slots)) {
            assertThat(pack.tokens()).isBetween(1, budget);
            assertThat(pack.slotOffsets()[0]).isZero();
            assertThat(pack.slotOffsets()[slotCount]).isEqualTo(pack.tokens());
            assertThat(pack.seqOffsets()[pack.sequences()]).isEqualTo(pack.tokens());
            int row = 0;
            for (int s = 0; s < pack.sequences(); s++) {
                int from = pack.seqOffsets()[s];
                int to = pack.seqOffsets()[s + 1];
                int slot = 0;
                while (pack.slotOffsets()[slot + 1] <= from) {
                    slot++;
                }
                assertThat(to).isLessThanOrEqualTo(pack.slotOffsets()[slot + 1]);
                for (int t = from; t < to; t++) {
                    assertThat(pack.positions()[t]).isEqualTo(t - from);
                }
                int prompt = pack.rows()[row] - from + 1;
                int[] ids = Arrays.copyOfRange(pack.ids(), from, to + 1);
                for (int t = from + prompt - 1; t < to; t++, row++) {
                    assertThat(pack.rows()[row]).isEqualTo(t);
                    assertThat(pack.rowSequence()[row]).isEqualTo(s);
                    if (t + 1 < to) {
                        assertThat(pack.targets()[row]).isEqualTo(pack.ids()[t + 1]);
                    }
                    ids[t + 1 - from] = pack.targets()[row];
                    scale[slot] += pack.rowScale()[row];
                }
                read.get(slot).add(new EncodedExample(ids, prompt));
            }
            assertThat(row).isEqualTo(pack.lossRows());
        }

        assertThat(read).usingRecursiveComparison().isEqualTo(slots);
        for (int slot = 0; slot < slotCount; slot++) {
            boolean any = !slots.get(slot).isEmpty();
            assertThat(scale[slot]).isCloseTo(any ? 1 : 0, within(1e-6));
        }
    }

    @Test
    void limitsAreNoLargerThanNeeded() {
        assertThat(PackBuilder.limits(4, 8, 10, 1000)).isEqualTo(new PassLimits(320, 32, 320, 4));
        assertThat(PackBuilder.limits(4, 8, 10, 100)).isEqualTo(new PassLimits(100, 32, 100, 4));
        assertThat(PackBuilder.limits(4, 8, 100, 0)).isEqualTo(new PassLimits(512, 32, 512, 4));
        assertThat(PackBuilder.limits(4, 8, 700, 0)).isEqualTo(new PassLimits(700, 32, 700, 4));
        assertThatThrownBy(() -> PackBuilder.limits(4, 8, 101, 100)).isInstanceOf(InputException.class)
                .hasMessageContaining("101 tokens, more than the token budget of 100; raise compute.token_budget");
    }
}
