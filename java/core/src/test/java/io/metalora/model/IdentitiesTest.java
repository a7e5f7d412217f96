package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What must be the same however sequences are packed, batched and given to slots. */
class IdentitiesTest {
    private static final double ROUNDING = 2e-6; // relative L2: the order of fp32 sums may differ

    private static final PassLimits LIMITS = PassLimits.ofTokens(128, 4);
    private static final Golden GOLDEN = Golden.read("llama");

    private static Device device;
    private CausalLM model;
    private LoraAdapter adapter;
    private ModelPass pass;

    @BeforeAll
    static void openDevice() {
        device = Device.cpu();
    }

    @AfterAll
    static void closeDevice() {
        device.close();
    }

    @BeforeEach
    void open() {
        model = CausalLM.load(GOLDEN.model(), device, LoadOptions.defaults());
        adapter = LoraAdapter.load(GOLDEN.adapter(), model.config(), device);
        pass = new ModelPass(model, LIMITS, adapter.layout(), true);
    }

    @AfterEach
    void close() {
        pass.close();
        adapter.close();
        model.close();
    }

    /** The sequences of the golden, as many as there are slots, given to slots in turn; all weigh the same. */
    private static TokenPack pack(int slots, int... which) {
        var pack = new TokenPack(LIMITS);
        pack.clear(slots);
        for (int i = 0; i < which.length; i++) {
            pack.add(i * slots / which.length, GOLDEN.sequences()[which[i]], GOLDEN.firstTargets()[which[i]], 0.125f);
        }
        return pack;
    }

    private AdapterSlots slots(int n) {
        var slots = new AdapterSlots(device, adapter.layout(), n, true);
        slots.setAll(adapter.parameters());
        return slots;
    }

    private float[] logprobs(TokenPack pack) {
        return Arrays.copyOf(pass.logprob(), pack.lossRows());
    }

    private static float[] concatenate(float[] a, float[] b) {
        var all = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, all, a.length, b.length);
        return all;
    }

    @Test
    void packedEqualsOneByOne() {
        try (var together = slots(1);
                var apart = slots(1)) {
            var all = pack(1, 0, 1, 2, 3);
            pass.forwardBackward(all, together, 0, 0);
            var packed = logprobs(all);

            var single = new float[0];
            for (int i = 0; i < 4; i++) {
                var one = pack(1, i);
                pass.forwardBackward(one, apart, 0, 0); // gradients add up over micro-batches
                single = concatenate(single, logprobs(one));
            }
            assertThat(Golden.error(single, packed)).isLessThan(ROUNDING);
            assertThat(Golden.error(apart.gradients().toFloats(), together.gradients().toFloats()))
                    .isLessThan(ROUNDING);
        }
    }

    @Test
    void microBatchesEqualTheWhole() {
        try (var whole = slots(2);
                var parts = slots(2)) {
            pass.forwardBackward(pack(2, 0, 1, 2, 3), whole, 0, 0);
            var first = new TokenPack(LIMITS);
            first.clear(2);
            first.add(0, GOLDEN.sequences()[0], GOLDEN.firstTargets()[0], 0.125f);
            first.add(1, GOLDEN.sequences()[2], GOLDEN.firstTargets()[2], 0.125f);
            var second = new TokenPack(LIMITS);
            second.clear(2);
            second.add(0, GOLDEN.sequences()[1], GOLDEN.firstTargets()[1], 0.125f);
            second.add(1, GOLDEN.sequences()[3], GOLDEN.firstTargets()[3], 0.125f);
            pass.forwardBackward(first, parts, 0, 0);
            pass.forwardBackward(second, parts, 0, 1);
            assertThat(Golden.error(parts.gradients().toFloats(), whole.gradients().toFloats()))
                    .isLessThan(ROUNDING);
        }
    }

    @Test
    void slotsOfEqualParametersEqualOneSlot() {
        try (var one = slots(1);
                var four = slots(4)) {
            var shared = pack(1, 0, 1, 2, 3);
            pass.forwardBackward(shared, one, 0, 0);
            var expected = logprobs(shared);
            var split = pack(4, 0, 1, 2, 3);
            pass.forwardBackward(split, four, 0, 0);
            assertThat(Golden.error(logprobs(split), expected)).isLessThan(ROUNDING);

            int p = (int) adapter.layout().parameters();
            var each = four.gradients().toFloats();
            var sum = new float[p];
            for (int i = 0; i < each.length; i++) {
                sum[i % p] += each[i];
            }
            assertThat(Golden.error(sum, one.gradients().toFloats())).isLessThan(ROUNDING);
        }
    }

    @Test
    void aSlotWithoutTokensChangesNothingAndHasNoGradient() {
        try (var slots = slots(3);
                var one = slots(1)) {
            var pack = new TokenPack(LIMITS);
            pack.clear(3);
            pack.add(0, GOLDEN.sequences()[0], 4, 1f);
            pack.add(2, GOLDEN.sequences()[3], 1, 1f);
            pass.forwardBackward(pack, slots, 0, 0);
            var gradients = slots.gradients().toFloats();
            int p = (int) adapter.layout().parameters();
            assertThat(Arrays.copyOfRange(gradients, p, 2 * p)).containsOnly(0f);

            var last = new TokenPack(LIMITS);
            last.add(0, GOLDEN.sequences()[3], 1, 1f);
            pass.forwardBackward(last, one, 0, 0);
            assertThat(Golden.error(Arrays.copyOfRange(gradients, 2 * p, 3 * p), one.gradients().toFloats()))
                    .isLessThan(ROUNDING);
        }
    }

    @Test
    void everySlotUsesItsOwnParameters() {
        try (var slots = slots(2);
                var other = LoraAdapter.create(device, adapter.layout(), 7)) {
            long p = adapter.layout().parameters();
            slots.parameters().copyFrom(other.parameters(), 0, p, p); // B = 0: the base model
            var pack = pack(2, 0, 3);
            pass.forward(pack, slots);
            var both = logprobs(pack);
            int firstRows = GOLDEN.sequences()[0].length - GOLDEN.firstTargets()[0];

            var adapted = pack(1, 0);
            pass.forward(adapted, AdapterSlots.of(adapter));
            assertThat(Golden.error(Arrays.copyOf(both, firstRows), logprobs(adapted))).isLessThan(ROUNDING);
            var base = pack(1, 3);
            pass.forward(base, null);
            assertThat(Golden.error(Arrays.copyOfRange(both, firstRows, both.length), logprobs(base)))
                    .isLessThan(ROUNDING);
        }
    }

    @Test
    void aRepeatHasTheSameBits() {
        try (var first = slots(2);
                var second = slots(2);
                var fresh = new ModelPass(model, LIMITS, adapter.layout(), true)) {
            var pack = pack(2, 0, 1, 2, 3);
            pass.forwardBackward(pack, first, 3, 5);
            var logprob = logprobs(pack);
            fresh.forwardBackward(pack, second, 3, 5);
            assertThat(Arrays.copyOf(fresh.logprob(), pack.lossRows())).isEqualTo(logprob);
            assertThat(second.gradients().toFloats()).isEqualTo(first.gradients().toFloats());
        }
    }

    @Test
    void noAdapterEqualsTheBaseModelBitForBit() {
        try (var bare = new ModelPass(model, LIMITS, null, false)) {
            var pack = pack(1, 0, 1, 2, 3);
            bare.forward(pack, null);
            pass.forward(pack, null);
            assertThat(logprobs(pack)).isEqualTo(Arrays.copyOf(bare.logprob(), pack.lossRows()));
        }
    }

    @Test
    void adaptersOfAnotherScaleAreRefused() {
        var c = adapter.layout().config();
        var layout = new LoraLayout(
                model.config(), new LoraConfig(c.rank(), 2 * c.alpha(), c.rslora(), c.dropout(), c.targets()));
        try (var louder = new AdapterSlots(device, layout, 1, true)) {
            assertThatThrownBy(() -> pass.forward(pack(1, 0), louder)).hasMessageContaining("scale");
        }
    }

    @Test
    void evaluationEqualsTrainingWithoutDropout() {
        try (var slots = slots(1);
                var evaluation = new ModelPass(model, LIMITS, adapter.layout(), false)) {
            var pack = pack(1, 0, 1, 2, 3);
            pass.forwardBackward(pack, slots, 0, 0);
            var training = logprobs(pack);
            evaluation.forward(pack, slots);
            assertThat(Arrays.copyOf(evaluation.logprob(), pack.lossRows())).isEqualTo(training);
            pass.forward(pack, slots);
            assertThat(logprobs(pack)).isEqualTo(training);
            assertThat(pass.argmax()).startsWith(Arrays.copyOf(evaluation.argmax(), pack.lossRows()));
        }
    }

    @Test
    void theMostProbableTokenHasTheHighestProbability() {
        var pack = pack(1, 0);
        pass.forward(pack, null);
        var argmax = Arrays.copyOf(pass.argmax(), pack.lossRows());
        var ids = GOLDEN.sequences()[0].clone();
        // With the most probable token as its last target, no other last target scores higher.
        double best = Double.NEGATIVE_INFINITY;
        int bestToken = -1;
        for (int token = 0; token < model.config().vocabSize(); token++) {
            ids[ids.length - 1] = token;
            var changed = new TokenPack(LIMITS);
            changed.add(0, ids, ids.length - 1, 1f);
            pass.forward(changed, null);
            if (pass.logprob()[0] > best) {
                best = pass.logprob()[0];
                bestToken = token;
            }
        }
        assertThat(bestToken).isEqualTo(argmax[argmax.length - 1]);
    }

    @Test
    void dropoutDependsOnSeedAndStreamAlone() {
        var c = adapter.layout().config();
        var layout = new LoraLayout(
                model.config(), new LoraConfig(c.rank(), c.alpha(), c.rslora(), 0.5f, c.targets()));
        try (var slots = new AdapterSlots(device, layout, 1, true);
                var dropping = new ModelPass(model, LIMITS, layout, true)) {
            slots.setAll(adapter.parameters());
            var pack = pack(1, 0, 1, 2, 3);
            var first = gradients(dropping, pack, slots, 1, 0);
            assertThat(gradients(dropping, pack, slots, 1, 0)).isEqualTo(first);
            assertThat(gradients(dropping, pack, slots, 1, 1)).isNotEqualTo(first);
            assertThat(gradients(dropping, pack, slots, 2, 0)).isNotEqualTo(first);
            dropping.forward(pack, slots);
            pass.forward(pack, AdapterSlots.of(adapter));
            assertThat(Arrays.copyOf(dropping.logprob(), pack.lossRows())).isEqualTo(logprobs(pack));
        }
    }

    private static float[] gradients(ModelPass pass, TokenPack pack, AdapterSlots slots, long seed, long stream) {
        slots.zeroGradients();
        pass.forwardBackward(pack, slots, seed, stream);
        return slots.gradients().toFloats();
    }

    @Test
    void theGradientIsThatOfTheWeightedLoss() {
        try (var slots = slots(1)) {
            var pack = pack(1, 0, 3);
            pass.forwardBackward(pack, slots, 0, 0);
            var gradient = slots.gradients().toFloats();
            // Along a random direction, the loss changes as the gradient says.
            var random = new Random(11);
            var direction = new float[gradient.length];
            double slope = 0;
            for (int i = 0; i < direction.length; i++) {
                direction[i] = (float) random.nextGaussian();
                slope += (double) gradient[i] * direction[i];
            }
            float step = 2e-4f;
            double difference = loss(pack, slots, direction, step) - loss(pack, slots, direction, -step);
            assertThat(difference / (2 * step)).isCloseTo(slope, within(2e-3 * Math.abs(slope)));
        }
    }

    private double loss(TokenPack pack, AdapterSlots slots, float[] direction, float step) {
        var moved = adapter.parameters().toFloats();
        for (int i = 0; i < moved.length; i++) {
            moved[i] += step * direction[i];
        }
        slots.parameters().upload(moved);
        pass.forward(pack, slots);
        double loss = 0;
        for (int i = 0; i < pack.lossRows(); i++) {
            loss -= (double) pack.rowScale()[i] * pass.logprob()[i];
        }
        return loss;
    }

    @Test
    void refusesWhatItWasNotMadeFor() {
        try (var evaluation = new ModelPass(model, LIMITS, adapter.layout(), false);
                var bare = new ModelPass(model, LIMITS, null, false);
                var slots = slots(1);
                var small = new ModelPass(model, PassLimits.ofTokens(8, 1), null, false)) {
            var pack = pack(1, 0);
            assertThatThrownBy(() -> evaluation.forwardBackward(pack, slots, 0, 0))
                    .hasMessageContaining("evaluation");
            assertThatThrownBy(() -> bare.forward(pack, slots)).hasMessageContaining("base model alone");
            assertThatThrownBy(() -> small.forward(pack, null)).hasMessageContaining("10 tokens");
            assertThatThrownBy(() -> pass.forwardBackward(pack, AdapterSlots.of(adapter), 0, 0))
                    .hasMessageContaining("without gradients");
            assertThatThrownBy(() -> pass.forward(pack(2, 0, 1), slots)).hasMessageContaining("2 slots");
            var foreign = new TokenPack(LIMITS);
            foreign.add(0, new int[] {3, 71}, 1, 1f);
            assertThatThrownBy(() -> pass.forward(foreign, null))
                    .isInstanceOf(InputException.class)
                    .hasMessageContaining("71");
        }
    }
}
