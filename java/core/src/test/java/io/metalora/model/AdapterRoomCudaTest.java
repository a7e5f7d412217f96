package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.io.ModelConfig;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Rank 16 in 8 slots takes 128 columns beside every Linear: where they are and where they are not. */
@Tag("cuda")
class AdapterRoomCudaTest {
    private static final int SLOTS = 8;
    private static final Golden GOLDEN = Golden.read("llama3-rope");
    private static final PassLimits LIMITS = PassLimits.ofTokens(256, SLOTS);
    private static final LoraLayout LAYOUT =
            new LoraLayout(ModelConfig.read(GOLDEN.model()), new LoraConfig(16, 32, false, 0, TargetModules.allLinear()));
    private static final LoadOptions ROOM = LoadOptions.defaults().withRoomFor(LAYOUT, SLOTS);

    /** Gradients of eight random adapters, each on a sequence of its own. */
    private static float[] gradients(Device device, LoadOptions options, boolean roomIsThere) {
        try (var model = CausalLM.load(GOLDEN.model(), device, options)) {
            assertThat(model.hasRoomFor(LAYOUT, SLOTS)).isEqualTo(roomIsThere);
            try (var slots = new AdapterSlots(device, LAYOUT, SLOTS, true); var pass = new ModelPass(model, LIMITS, LAYOUT, true)) {
                var random = new Random(5);
                var values = new float[Math.toIntExact(SLOTS * LAYOUT.parameters())];
                for (int i = 0; i < values.length; i++) {
                    values[i] = 0.1f * (float) random.nextGaussian();
                }
                slots.parameters().upload(values);
                var pack = new TokenPack(LIMITS);
                pack.clear(SLOTS);
                for (int slot = 0; slot < SLOTS; slot++) {
                    pack.add(slot, random.ints(9 + slot, 0, model.config().vocabSize()).toArray(), 2, 0.125f);
                }
                pass.forwardBackward(pack, slots, 0, 0);
                return slots.gradients().toFloats();
            }
        }
    }

    @Test
    void gradientsAreTheSameWithRoomAndWithout() {
        try (var cpu = Device.cpu(); var cuda = CudaDevice.open(DType.BF16)) {
            var expected = gradients(cpu, LoadOptions.defaults(), true); // which needs none
            var with = gradients(cuda, ROOM, true);
            var without = gradients(cuda, LoadOptions.defaults(), false);
            int each = expected.length / SLOTS;
            for (int slot = 0; slot < SLOTS; slot++) {
                var of = Arrays.copyOfRange(expected, slot * each, (slot + 1) * each);
                for (var gradients : new float[][] {with, without}) {
                    assertThat(Golden.error(Arrays.copyOfRange(gradients, slot * each, (slot + 1) * each), of)).isLessThan(4e-2);
                }
            }
        }
    }

    @Test
    void weightsAndRowsGrowByTheRoom() {
        try (var device = CudaDevice.open(DType.BF16)) {
            CausalLM.load(GOLDEN.model(), device, ROOM).close(); // has the device take its working memory
            var small = Held.by(device, LoadOptions.defaults());
            var large = Held.by(device, ROOM);
            assertThat(large.weights - small.weights).isEqualTo(large.linears - small.linears).isPositive();
            assertThat(large.pass).isGreaterThan(small.pass);
        }
    }

    /** Bytes of a model with these options and of a pass through it, which are what is estimated. */
    private record Held(long weights, long linears, long pass) {
        static Held by(Device device, LoadOptions options) {
            long before = device.info().memoryInUse();
            try (var model = CausalLM.load(GOLDEN.model(), device, options)) {
                long loaded = device.info().memoryInUse();
                assertThat(loaded - before).isEqualTo(CausalLM.estimate(GOLDEN.model(), device, options).weights());
                try (var _ = new ModelPass(model, LIMITS, LAYOUT, true)) {
                    long pass = device.info().memoryInUse() - loaded;
                    assertThat(pass).isEqualTo(
                            ModelPass.estimate(model.config(), device, options, LIMITS, LAYOUT, true).activations());
                    return new Held(loaded - before, linearBytes(model, options.adapterColumns()), pass);
                }
            }
        }
    }

    /** A bf16 weight has the columns behind each of its rows, and as many rows below. */
    private static long linearBytes(CausalLM model, int columns) {
        var c = model.config();
        long elements = 0;
        for (var group : model.shape().groups()) {
            long room = (long) columns * group.members().size();
            elements += (group.out(c) + room) * (Math.ceilDiv(group.first().in(c), 8) * 8 + room);
        }
        return c.layers() * elements * DType.BF16.bytes();
    }
}
