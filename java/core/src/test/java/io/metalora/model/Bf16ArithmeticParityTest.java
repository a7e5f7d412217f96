package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.runtime.InstructionSet;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** The whole model on a CPU in bf16 arithmetic against PyTorch in fp32, within the bounds that CUDA's bf16 has. */
class Bf16ArithmeticParityTest {
    private static final double LOSS = 1e-2;
    private static final double LOGITS = 2.5e-2;
    private static final double GRADIENTS = 5e-2;

    private static Device open(InstructionSet isa, int threads) {
        try {
            return Device.open(new DeviceOptions(Backend.CPU, threads, isa).withArithmetic(Arithmetic.BF16));
        } catch (InputException e) {
            return Assumptions.abort(e.getMessage());
        }
    }

    static Stream<Arguments> goldensOnEveryInstructionSet() {
        return Arrays.stream(Golden.NAMES).flatMap(name -> Stream.of(InstructionSet.PORTABLE, InstructionSet.AVX2, InstructionSet.AVX512)
                .map(isa -> Arguments.of(Golden.read(name), isa)));
    }

    @ParameterizedTest
    @MethodSource("goldensOnEveryInstructionSet")
    void logits(Golden golden, InstructionSet isa) {
        try (var device = open(isa, 2);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = AdapterSlots.of(adapter);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), false)) {
            ParityTest.assertLogits(golden, "base_logits.", model, pass, null, LOGITS);
            ParityTest.assertLogits(golden, "logits.", model, pass, slots, LOGITS);
        }
    }

    @ParameterizedTest
    @MethodSource("goldensOnEveryInstructionSet")
    void lossAndEveryAdapterGradient(Golden golden, InstructionSet isa) {
        try (var device = open(isa, 2);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            ParityTest.assertLossAndGradients(golden, pass, slots, LOSS, GRADIENTS);
        }
    }

    /** Whatever the checkpoint's type: what is held in floats would not be multiplied in bf16. */
    @ParameterizedTest
    @MethodSource("io.metalora.model.ParityTest#goldens")
    void weightsAreHeldInBf16ByThemselves(Golden golden) {
        try (var device = open(InstructionSet.AUTO, 1); var model = CausalLM.load(golden.model(), device, LoadOptions.defaults())) {
            assertThat(model.head().storage()).isEqualTo(DType.BF16);
        }
    }

    @ParameterizedTest
    @EnumSource(value = InstructionSet.class, mode = EnumSource.Mode.EXCLUDE, names = "AUTO")
    void theSameBitsEveryTime(InstructionSet isa) {
        Golden golden = Golden.read(Golden.NAMES[0]);
        assertThat(gradients(golden, isa)).isEqualTo(gradients(golden, isa));
    }

    private static float[] gradients(Golden golden, InstructionSet isa) {
        try (var device = open(isa, 2);
                var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            pass.forwardBackward(golden.pack(), slots, 0, 0);
            return slots.gradients().toFloats();
        }
    }
}
