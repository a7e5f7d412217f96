package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import org.junit.jupiter.api.Test;

class MemoryEstimateTest {

    @Test
    void sizesThatNoLongHoldsFitNowhere() {
        var most = new MemoryEstimate(Long.MAX_VALUE, Long.MAX_VALUE - 1, 5);

        assertThat(most.plus(most)).isEqualTo(new MemoryEstimate(Long.MAX_VALUE, Long.MAX_VALUE, 10));
        assertThat(most.total()).isEqualTo(Long.MAX_VALUE);
        assertThat(MemoryEstimate.product(1L << 40, 1L << 40)).isEqualTo(Long.MAX_VALUE);
        assertThat(MemoryEstimate.product(0, Long.MAX_VALUE)).isZero();
        assertThat(MemoryEstimate.product(3, 5)).isEqualTo(15);
        assertThatThrownBy(() -> most.requireFits("It", "help", "memory", 1 << 20, Long.MAX_VALUE - 1)).isInstanceOf(InputException.class)
                .hasMessageContaining("It needs 8589934592.00 GiB of memory").satisfies(e -> assertThat(e.getMessage()).doesNotContain("-"));
    }

    /** The largest pass that a configuration can ask for is counted, without taking memory of its size. */
    @Test
    void theLargestPassIsCounted() {
        ModelConfig model = ModelConfig.read(Golden.read("llama").model());
        var layout = new LoraLayout(model, new LoraConfig(4096, 16, false, 0, TargetModules.allLinear()));
        try (Device device = Device.cpu()) {
            var allocation = new ThreadAllocation();
            long before = allocation.bytes();
            var estimate = ModelPass.estimate(model, device, LoadOptions.defaults(), PassLimits.ofTokens(1 << 24, 4096), layout, true);
            assertThat(allocation.bytes() - before).isLessThan(16 << 20);
            assertThat(estimate.total()).isGreaterThan((1L << 24) * model.layers() * model.hiddenSize() * Float.BYTES);
        }
    }
}
