package io.metalora.model.pass;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Packs filled up to the shapes that passes are recorded for. */
class TokenPackTest {
    private static final int LONGEST = 24;

    private static TokenPack random(Random random, PassLimits limits) {
        var pack = new TokenPack(limits);
        pack.clear(random.nextInt(1, limits.slots() + 1));
        for (int slot = 0; slot < pack.slots(); slot++) {
            for (int i = random.nextInt(4); i > 0 || pack.tokens() == 0; i--) {
                var ids = random.ints(random.nextInt(2, LONGEST + 2), 5, 64).toArray(); // none is 0
                int firstTarget = random.nextInt(1, ids.length);
                if (!pack.fits(ids.length, firstTarget)) {
                    break;
                }
                pack.add(slot, ids, firstTarget, 1 + random.nextFloat());
            }
        }
        return pack;
    }

    @Test
    void aFilledUpPackIsThePackAndWhatHasNoWeight() {
        var random = new Random(1);
        for (int i = 0; i < 5_000; i++) {
            int most = random.nextInt(LONGEST, 100);
            var limits = new PassLimits(most, random.nextInt(1, most + 1), most, 3);
            var pack = random(random, limits);
            var shape = PackShape.bucketOf(pack, most, random.nextInt(Math.max(1, pack.maxLength()), 2 * LONGEST));
            var room = PackShape.room(limits);
            var full = new TokenPack(room);
            var own = new boolean[room.lossRows()];
            full.fillUp(pack, shape, own);

            assertThat(new PackShape(full.tokens(), full.sequences(), full.lossRows(), full.maxLength(), full.slots())).isEqualTo(shape);
            assertThat(Arrays.copyOf(full.ids(), pack.tokens())).isEqualTo(Arrays.copyOf(pack.ids(), pack.tokens()));
            assertThat(Arrays.stream(full.ids(), 0, full.tokens()))
                    .allMatch(id -> Arrays.stream(pack.ids(), 0, pack.tokens()).anyMatch(known -> known == id));
            assertSequences(full, pack, shape);
            assertRows(full, pack, own);
        }
    }

    private static void assertSequences(TokenPack full, TokenPack pack, PackShape shape) {
        assertThat(full.seqOffsets()).startsWith(Arrays.copyOf(pack.seqOffsets(), pack.sequences() + 1));
        for (int s = 0; s < full.sequences(); s++) {
            int start = full.seqOffsets()[s];
            int length = full.seqOffsets()[s + 1] - start;
            assertThat(length).isBetween(0, shape.maxLength());
            assertThat(Arrays.copyOfRange(full.positions(), start, start + length)).isEqualTo(IntStream.range(0, length).toArray());
        }
        assertThat(full.seqOffsets()[full.sequences()]).isEqualTo(full.tokens());
        assertThat(full.slotOffsets()).startsWith(Arrays.copyOf(pack.slotOffsets(), pack.slots()));
        assertThat(full.slotOffsets()[full.slots()]).isEqualTo(full.tokens());
    }

    private static void assertRows(TokenPack full, TokenPack pack, boolean[] own) {
        int at = 0;
        for (int row = 0; row < full.lossRows(); row++) {
            assertThat(full.rows()[row]).isBetween(row == 0 ? 0 : full.rows()[row - 1] + 1, full.tokens() - 1);
            if (own[row]) {
                assertThat(full.rows()[row]).isEqualTo(pack.rows()[at]);
                assertThat(full.targets()[row]).isEqualTo(pack.targets()[at]);
                assertThat(full.rowScale()[row]).isEqualTo(pack.rowScale()[at]);
                at++;
            } else {
                assertThat(full.rowScale()[row]).isZero();
            }
        }
        assertThat(at).isEqualTo(pack.lossRows());
    }

    @ParameterizedTest
    @CsvSource({"0, 1", "1, 1", "2, 2", "3, 4", "4, 4", "5, 8", "1023, 1024", "1024, 1024", "1025, 1536", "1537, 2048"})
    void countsAreRoundedUp(int count, int rounded) {
        assertThat(PackShape.rounded(count)).isEqualTo(rounded);
    }
}
