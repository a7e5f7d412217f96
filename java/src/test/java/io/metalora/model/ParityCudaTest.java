package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.metalora.adapter.LoraAdapter;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The same on CUDA: in F32 as on the CPU, and in BF16 as far as BF16 goes. */
class ParityCudaTest extends ParityTest {
    @Override
    Device openDevice() {
        return CudaDevice.open(DType.F32);
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void lossAndGradientsInBfloat16(Golden golden) {
        try (var device = CudaDevice.open(DType.BF16);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            var pack = golden.pack();
            pass.forwardBackward(pack, slots, 0, 0);
            double loss = 0;
            for (int i = 0; i < pack.lossRows(); i++) {
                loss -= (double) pack.rowScale()[i] * pass.logprob()[i];
            }
            assertThat(loss).isCloseTo(golden.loss(), within(1e-2 * golden.loss()));

            var gradients = slots.gradients().toFloats();
            var expected = new float[gradients.length];
            for (var site : adapter.layout().sites()) {
                var name = "grad.base_model.model." + site.path();
                var a = golden.tensors().get(name + ".lora_A.weight");
                var b = golden.tensors().get(name + ".lora_B.weight");
                System.arraycopy(a, 0, expected, (int) site.offsetA(), a.length);
                System.arraycopy(b, 0, expected, (int) site.offsetB(), b.length);
            }
            assertThat(Arrays.equals(expected, new float[expected.length])).isFalse();
            assertThat(Golden.error(gradients, expected)).isLessThan(5e-2);
        }
    }
}
