package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.op.DeviceAccess;
import java.util.List;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Scratch memory that is planned for a pass. */
@Tag("cuda")
class PlanCudaTest {
    private static final PassLimits LIMITS = PassLimits.ofTokens(64, 2);

    @Test
    void whatDoesNotFitSaysWhichOpTakesItAndWhatToDo() {
        var golden = Golden.read(Golden.NAMES[0]);
        try (var device = CudaDevice.open(DType.BF16);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 2, true);
                var pass = new ModelPass(model, LIMITS, adapter.layout(), true);
                var values = device.zeros(DType.F32, 1 << 20)) {
            Runnable large = () -> values.copyFrom(values, 0, 1, values.elements() - 1); // over itself: through scratch memory
            long held = device.info().memoryInUse();
            CudaDevice.leave(device, 2 << 20);
            try {
                assertThatThrownBy(() -> pass.plan(slots, large))
                        .isInstanceOf(InputException.class)
                        .hasMessageContaining("A pass of 64 tokens")
                        .hasMessageContaining("which ml_copy (bytes 4194300) takes")
                        .hasMessageContaining("lower the token budget");
                assertThat(device.info().memoryInUse()).isEqualTo(held);
            } finally {
                CudaDevice.leave(device, 0);
            }
            assertThat(pass.plan(slots, large)).isEqualTo(1 << 22);
        }
    }

    @Test
    void scratchMemoryThatIsHeldIsNotAskedForOnceMore() {
        try (var device = CudaDevice.open(DType.F32); var values = device.zeros(DType.F32, 1 << 20);
                var weight = DeviceAccess.get().freeze(device, List.of(HostTensor.of("w", new float[64 * 64], 64, 64)), DType.F32, 0)) {
            long before = DeviceAccess.get().scratchBytes(device);
            var almostAll = new MemoryEstimate(device.info().memoryFree() - (1L << 30) + before, 0, 0);
            almostAll.requireFits(device, "It", "");
            DeviceAccess.get().plan(device, () -> values.copyFrom(values, 0, 1, values.elements() - 1));
            long after = DeviceAccess.get().scratchBytes(device);
            assertThat(after).isEqualTo(1 << 22);
            assertThat(device.info().memoryInUse()).isEqualTo((1 << 22) + after + 64 * 64 * Float.BYTES);
            assertThat(weight.inFeatures()).isEqualTo(64);

            new MemoryEstimate(device.info().memoryFree() - (1L << 30) + after, 0, 0).requireFits(device, "It", "");
            assertThatThrownBy(() -> new MemoryEstimate(device.info().memoryFree() - (1L << 30) + after + 1, 0, 0)
                    .requireFits(device, "It", "do something")).isInstanceOf(InputException.class);
        }
    }
}
