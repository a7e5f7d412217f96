package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Device;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.Ops;
import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The whole model against PyTorch, transformers and PEFT, on small random checkpoints of every architecture. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ParityTest {
    private static final double TOLERANCE = 1e-5; // relative L2 error, fp32

    private Device device;

    @BeforeAll
    void open() {
        device = openDevice();
    }

    @AfterAll
    void close() {
        if (device != null) {
            device.close();
        }
    }

    /** Where the model runs; subclasses take other devices. */
    Device openDevice() {
        return Device.cpu();
    }

    static Stream<Golden> goldens() {
        return Arrays.stream(Golden.NAMES).map(Golden::read);
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void logitsOfTheBaseModel(Golden golden) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), null, false)) {
            assertLogits(golden, "base_logits.", model, pass, null, TOLERANCE);
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void logitsWithAnAdapter(Golden golden) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = AdapterSlots.of(adapter);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), false)) {
            assertLogits(golden, "logits.", model, pass, slots, TOLERANCE);
        }
    }

    /** @param tolerance of the relative L2 error of each sequence's logits */
    static void assertLogits(
            Golden golden, String prefix, CausalLM model, ModelPass pass, AdapterSlots slots, double tolerance) {
        var device = model.device();
        var pack = golden.pack();
        pass.forward(pack, slots);
        int vocab = model.config().vocabSize();
        try (var logits = device.zeros(device.activationType(), pack.tokens(), vocab)) {
            Ops.of(device).linear(LoraLinear.frozen(model.head()), pass.lastHidden(), null, logits, pack.tokens());
            var all = logits.toFloats();
            var sequences = golden.sequences();
            double worst = 0;
            for (int i = 0; i < sequences.length; i++) {
                // The last token of a sequence is only a target, so the pack has no logits for it.
                int from = pack.seqOffsets()[i] * vocab;
                int count = (sequences[i].length - 1) * vocab;
                var expected = Arrays.copyOf(golden.tensors().get(prefix + i), count);
                double error = Golden.error(Arrays.copyOfRange(all, from, from + count), expected);
                assertThat(error).as(prefix + i).isLessThan(tolerance);
                worst = Math.max(worst, error);
            }
            print(golden, prefix.replace(".", ""), worst);
        }
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void lossAndEveryAdapterGradient(Golden golden) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            assertLossAndGradients(golden, pass, slots, 1e-5, TOLERANCE);
        }
    }

    /**
     * @param lossTolerance     of the relative error of the loss
     * @param gradientTolerance of the relative L2 error of each matrix's gradient
     */
    static void assertLossAndGradients(Golden golden, ModelPass pass, AdapterSlots slots, double lossTolerance, double gradientTolerance) {
        var pack = golden.pack();
        pass.forwardBackward(pack, slots, 0, 0);
        double loss = 0;
        for (int i = 0; i < pack.lossRows(); i++) {
            loss -= (double) pack.rowScale()[i] * pass.logprob()[i];
        }
        assertThat(loss).isCloseTo(golden.loss(), within(lossTolerance * golden.loss()));
        assertGradients(golden, slots, AdapterPart.ALL, gradientTolerance);
    }

    static Stream<Arguments> partsOfGoldens() {
        return goldens().flatMap(golden -> {
            var kind = LoraAdapter.layout(golden.adapter(), ModelConfig.read(golden.model())).kind();
            return Stream.of(AdapterPart.B, AdapterPart.HEADS_AND_ROUTER).filter(part -> part.isOf(kind))
                    .map(part -> arguments(golden, part));
        });
    }

    @ParameterizedTest
    @MethodSource("partsOfGoldens")
    void gradientsOfThePartAloneThatIsAdapted(Golden golden, AdapterPart part) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 1, true);
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), adapter.layout(), true)) {
            slots.setAll(adapter.parameters());
            pass.runForwardBackward(golden.pack(), slots, part, 0, 0);
            assertGradients(golden, slots, part, TOLERANCE);
        }
    }

    /**
     * @param part      of which there are gradients; the others are zeros
     * @param tolerance of the relative L2 error of each matrix's gradient
     */
    private static void assertGradients(Golden golden, AdapterSlots slots, AdapterPart part, double tolerance) {
        var gradients = slots.gradients().toFloats();
        int checked = 0;
        double worst = 0;
        for (var site : slots.layout().sites()) {
            for (var matrix : site.matrices()) {
                var name = "grad.base_model.model." + site.path() + "." + matrix.name() + ".weight";
                float[] gradient = matrix.gather(gradients, 0);
                checked++;
                boolean fixed = switch (matrix.name()) {
                    case "lora_A" -> !part.movesA();
                    case "lora_route" -> !part.movesRouter();
                    default -> false;
                };
                if (fixed) {
                    assertThat(gradient).as(name).containsOnly(0);
                    continue;
                }
                double error = Golden.error(gradient, golden.tensors().get(name));
                assertThat(error).as(name).isLessThan(tolerance);
                worst = Math.max(worst, error);
            }
        }
        print(golden, "adapter gradients", worst);
        assertThat(golden.tensors().keySet().stream().filter(k -> k.startsWith("grad."))).hasSize(checked);
    }

    private static void print(Golden golden, String what, double worst) {
        System.out.printf(Locale.ROOT, "%s: relative L2 error of the %s at most %.1e%n", golden, what.replace('_', ' '), worst);
    }

    @ParameterizedTest
    @MethodSource("goldens")
    void greedyContinuation(Golden golden) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var generator = new Generator(model, AdapterSlots.of(adapter), 64)) {
            var expected = golden.continuation();
            assertThat(generator.generate(golden.prompt(), GenerationOptions.greedy(expected.length)))
                    .isEqualTo(expected);
        }
    }
}
