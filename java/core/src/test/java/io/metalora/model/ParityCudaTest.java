package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.Projection;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The same on CUDA: in F32 as on the CPU, and in BF16 as far as BF16 goes. */
@Tag("cuda")
class ParityCudaTest extends ParityTest {
    /** Relative L2 errors, where 1.3e-2 of a sequence's logits and 2.8e-2 of a matrix's gradient were the largest seen. */
    private static final double LOGITS_IN_BF16 = 2.5e-2;

    private static final double GRADIENTS_IN_BF16 = 5e-2;

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
            assertLossAndGradients(golden, pass, slots, 1e-2, GRADIENTS_IN_BF16);
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void logitsInBfloat16(Golden golden) {
        try (var device = CudaDevice.open(DType.BF16);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = AdapterSlots.of(adapter);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), false)) {
            assertLogits(golden, "base_logits.", model, pass, null, LOGITS_IN_BF16);
            assertLogits(golden, "logits.", model, pass, slots, LOGITS_IN_BF16);
        }
    }

    /** Linears of one input are one product there, whose terms drop what each would alone. */
    @ParameterizedTest
    @MethodSource("goldens")
    void dropoutIsThatOfTheCpu(Golden golden) {
        try (var cpu = Device.cpu();
                var cuda = CudaDevice.open(DType.F32)) {
            assertThat(Golden.error(gradientsWithDropout(golden, cuda), gradientsWithDropout(golden, cpu))).isLessThan(1e-5);
        }
    }

    private static float[] gradientsWithDropout(Golden golden, Device device) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device)) {
            var of = adapter.layout().config();
            var config = new LoraConfig(of.rank(), of.alpha(), of.rslora(), 0.3f, of.targets());
            var layout = switch (adapter.layout()) {
                case LoraLayout lora -> new LoraLayout(model.config(), config);
                case MixtureLayout mixture -> new MixtureLayout(model.config(), config, mixture.heads());
            };
            try (var slots = new AdapterSlots(device, layout, 1, true);
                    var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), layout, true)) {
                slots.setAll(adapter.parameters());
                pass.forwardBackward(golden.pack(), slots, 17, 4);
                return slots.gradients().toFloats();
            }
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void cachedTokensGiveTheLogitsOfAFullPass(Golden golden) {
        try (var device = CudaDevice.open(DType.F32)) {
            GeneratorTest.assertCachedTokensGiveTheLogitsOfAFullPass(golden, device);
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void aBatchContinuesEachPromptAsItIsAlone(Golden golden) {
        try (var device = CudaDevice.open(DType.F32)) {
            GeneratorTest.assertABatchContinuesEachPromptAsItIsAlone(golden, device);
        }
    }

    /** The estimate that a user is told counts stacked weights and spare columns as they are allocated. */
    @ParameterizedTest
    @MethodSource("goldens")
    void weightsHoldWhatWasEstimated(Golden golden) {
        try (var device = CudaDevice.open(DType.BF16)) {
            long before = device.info().memoryInUse();
            long estimate = CausalLM.estimate(golden.model(), device, LoadOptions.defaults()).weights();
            try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults())) {
                assertThat(device.info().memoryInUse() - before).isBetween(estimate, estimate + (1 << 20));
                assertThat(model.shape().group(Projection.Q).isStack()).isTrue();
            }
        }
    }

    /** A model has to fit the memory of the device that it runs on, whatever the machine has. */
    @Test
    void memoryIsTheDevices() {
        try (var device = CudaDevice.open(DType.BF16)) {
            var info = device.info();
            assertThat(info.memoryFree()).isBetween(1L, info.memoryTotal());
            new MemoryEstimate(info.memoryFree() - (2L << 30), 0, 0).requireFits(device, "It", "");
            assertThatThrownBy(() -> new MemoryEstimate(info.memoryFree(), 0, 0).requireFits(device, "It", "do something"))
                    .hasMessageContaining("of memory of " + info.deviceName())
                    .hasMessageEndingWith("are available; do something");
        }
    }
}
