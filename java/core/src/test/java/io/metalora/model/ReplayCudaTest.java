package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Passes that a graph replays against the same passes run op by op, on packs of the same bucket: to the bit. */
@Tag("cuda")
class ReplayCudaTest {
    private static final PassLimits LIMITS = new PassLimits(40, 8, 40, 2);

    /** Two slots; the lengths are those of the sequences in the pack. */
    private static TokenPack pack(long seed, int... lengths) {
        var random = new Random(seed);
        var pack = new TokenPack(LIMITS);
        pack.clear(2);
        for (int i = 0; i < lengths.length; i++) {
            pack.add(i < 2 ? 0 : 1, random.ints(lengths[i] + 1, 0, 64).toArray(), 1 + i, 0.125f);
        }
        return pack;
    }

    private static float[] outcome(ModelPass pass, TokenPack pack, AdapterSlots slots) {
        slots.zeroGradients();
        pass.forwardBackward(pack, slots, 0, 0);
        var gradients = slots.gradients().toFloats();
        var all = Arrays.copyOf(gradients, gradients.length + pack.lossRows());
        System.arraycopy(pass.logprob(), 0, all, gradients.length, pack.lossRows());
        return all;
    }

    @ParameterizedTest
    @EnumSource(value = DType.class, names = {"F32", "BF16"})
    void giveTheSameBits(DType type) {
        var golden = Golden.read(Golden.NAMES[0]);
        try (var device = CudaDevice.open(type);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 2, true);
                var pass = new ModelPass(model, LIMITS, adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            TokenPack[] packs = {pack(1, 9, 7, 6), pack(2, 5, 11, 4), pack(3, 8, 9, 7)};
            var direct = new float[packs.length][];
            for (int i = 0; i < packs.length; i++) {
                try (var fresh = new ModelPass(model, LIMITS, adapter.layout(), true)) {
                    direct[i] = outcome(fresh, packs[i], slots);
                }
            }
            assertThat(Arrays.equals(direct[0], direct[1])).isFalse();
            for (int again = 0; again < 2; again++) {
                for (int i = 0; i < packs.length; i++) {
                    assertThat(outcome(pass, packs[i], slots)).as("pack %d", i).containsExactly(direct[i]);
                }
            }
            assertThat(pass.recorded()).isEqualTo(1);

            device.zeros(DType.F32, 1).close(); // graphs are of no use after it
            assertThat(outcome(pass, packs[1], slots)).containsExactly(direct[1]);
            assertThat(pass.recorded()).isZero();
            assertThat(outcome(pass, packs[2], slots)).containsExactly(direct[2]);
            assertThat(pass.recorded()).isEqualTo(1);
        }
    }

    /** Alternatives are more loss rows than tokens; only a forward takes them. */
    @Test
    void aTrainingPassTakesAsManyRowsAsItWasMadeFor() {
        var golden = Golden.read(Golden.NAMES[0]);
        var limits = new PassLimits(40, 8, 256, 1);
        try (var device = CudaDevice.open(DType.F32);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, limits, adapter.layout(), true)) {
            var pack = new TokenPack(limits);
            pack.addAlternatives(0, new int[] {1, 2, 3}, new Random(6).ints(200, 0, 64).toArray());
            pass.forward(pack, slots);
            assertThat(pass.logprob()[199]).isNegative();
        }
    }

    /** Against the CPU, which neither fills packs up nor replays them. */
    @ParameterizedTest
    @EnumSource(value = DType.class, names = "F32")
    void fillingUpChangesNoResult(DType type) {
        var golden = Golden.read(Golden.NAMES[0]);
        float[] expected = null;
        try (var cpu = Device.cpu(); var cuda = CudaDevice.open(type)) {
            for (var device : new Device[] {cpu, cuda}) {
                try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                        var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                        var slots = new AdapterSlots(device, adapter.layout(), 2, true);
                        var pass = new ModelPass(model, LIMITS, adapter.layout(), true)) {
                    slots.setAll(adapter.parameters());
                    // Of 40 tokens at most, 33 and 39 are there, and fewer are added than rows.
                    for (var pack : new TokenPack[] {pack(4, 9, 7, 17), pack(5, 13, 13, 13)}) {
                        var actual = outcome(pass, pack, slots);
                        if (device == cpu) {
                            expected = expected == null ? actual : concat(expected, actual);
                        } else {
                            var part = Arrays.copyOf(expected, actual.length);
                            expected = Arrays.copyOfRange(expected, actual.length, expected.length);
                            assertThat(Golden.error(actual, part)).isLessThan(1e-5);
                        }
                    }
                }
            }
        }
    }

    private static float[] concat(float[] a, float[] b) {
        var both = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, both, a.length, b.length);
        return both;
    }
}
