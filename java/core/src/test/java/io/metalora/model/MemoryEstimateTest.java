package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.op.DeviceAccess;
import java.math.BigInteger;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.LongRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Sums of bytes that no long holds. */
class MemoryEstimateTest {
    private static final BigInteger MOST = BigInteger.valueOf(Long.MAX_VALUE);

    @Property(tries = 500)
    void sumsAndProductsAreExactOrTheMost(@ForAll @Size(min = 2, max = 5) List<@LongRange(min = 0) Long> factors) {
        long[] numbers = factors.stream().mapToLong(Long::longValue).toArray();
        var product = BigInteger.ONE;
        for (long number : numbers) {
            product = product.multiply(BigInteger.valueOf(number));
        }
        assertThat(MemoryEstimate.product(numbers)).isEqualTo(product.min(MOST).longValueExact());
        assertThat(MemoryEstimate.sum(numbers[0], numbers[1]))
                .isEqualTo(BigInteger.valueOf(numbers[0]).add(BigInteger.valueOf(numbers[1])).min(MOST).longValueExact());
    }

    @Test
    void moreThanALongHoldsFitsNowhere() {
        var part = new MemoryEstimate(0, Long.MAX_VALUE / 2, 5);
        var all = part.plus(part).plus(part);
        assertThat(all.total()).isEqualTo(Long.MAX_VALUE);
        // What the system says where it sets no limit.
        assertThatThrownBy(() -> all.requireFits("Training m", "lower it", "memory", 192L << 20, Long.MAX_VALUE))
                .isInstanceOf(InputException.class).hasMessageContaining("Training m needs more than 8 EiB of memory")
                .hasMessageContaining("lower it").hasMessageNotContaining("-");
        assertThat(all.describe(1 << 20)).endsWith("more than 8 EiB");
        assertThat(MemoryEstimate.size(5L << 52)).isEqualTo("20.00 PiB");
        assertThatThrownBy(() -> new MemoryEstimate(1, -1, 0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theLargestPassesAreCountedWithoutBeingMade() {
        try (var device = Device.cpu();
                var model = CausalLM.load(Golden.read("llama").model(), device, LoadOptions.defaults())) {
            var layout = new LoraLayout(model.config(), new LoraConfig(8, 16, false, 0, TargetModules.allLinear()));
            var limits = PassLimits.ofTokens(PassLimits.MOST, PassLimits.MOST_SLOTS);
            var allocation = new ThreadAllocation();
            long before = allocation.bytes();
            var training = ModelPass.estimate(model.config(), device, model.options(), limits, layout, true);
            assertThat(allocation.bytes() - before).isLessThan(16 << 20);
            assertThat(training.total()).isGreaterThan((long) PassLimits.MOST * model.config().hiddenSize() * 4);
            assertThat(Generator.estimate(model, null, Integer.MAX_VALUE, Integer.MAX_VALUE).total()).isGreaterThan(1L << 40);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama", "qwen3"})
    void buffersTakeWhatTheyWereEstimatedToTake(String golden) {
        try (var device = Device.cpu(); var model = CausalLM.load(Golden.read(golden).model(), device, LoadOptions.defaults())) {
            var layout = new LoraLayout(model.config(), new LoraConfig(4, 8, false, 0, TargetModules.allLinear()));
            var limits = PassLimits.ofTokens(24, 3);
            for (boolean training : new boolean[] {true, false}) {
                long before = withoutScratch(device);
                try (var _ = new ModelPass(model, limits, layout, training)) {
                    assertThat(withoutScratch(device) - before).isEqualTo(
                            ModelPass.estimate(model.config(), device, model.options(), limits, layout, training).total());
                }
                assertThat(withoutScratch(device)).isEqualTo(before);
            }
            long before = withoutScratch(device);
            try (var _ = new Generator(model, null, 2, 20)) {
                assertThat(withoutScratch(device) - before).isEqualTo(Generator.estimate(model, null, 2, 20).total());
            }
            assertThat(withoutScratch(device)).isEqualTo(before);
        }
    }

    private static long withoutScratch(Device device) {
        return device.info().memoryInUse() - DeviceAccess.get().scratchBytes(device);
    }

    @Test
    void whatNoPassTakesIsRefusedInWords() {
        assertThatThrownBy(() -> PassLimits.ofTokens(PassLimits.MOST + 1, 1)).isInstanceOf(InputException.class)
                .hasMessageContaining("536870913 tokens").hasMessageContaining("lower the token budget");
        assertThatThrownBy(() -> PassLimits.ofTokens(1, Integer.MAX_VALUE)).isInstanceOf(InputException.class)
                .hasMessageContaining("2147483647 adapter slots").hasMessageContaining("65000");
    }
}
