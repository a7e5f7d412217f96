package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What is known of mixtures without a reference: with one head, or with heads that are alike, they are LoRA. */
class MixtureTest {
    private static final double ROUNDING = 2e-6; // relative L2: the order of fp32 sums may differ
    private static final PassLimits LIMITS = PassLimits.ofTokens(128, 4);
    private static final Golden GOLDEN = Golden.read("llama");

    private static Device device;
    private CausalLM model;

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
    }

    @AfterEach
    void close() {
        model.close();
    }

    private static LoraConfig config(float dropout) {
        return new LoraConfig(3, 7, false, dropout, TargetModules.of("q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"));
    }

    /** A and every B_j are those of the LoRA; the routers are random. */
    private static float[] alike(LoraLayout lora, float[] from, MixtureLayout mixture) {
        var random = new Random(5);
        var to = new float[Math.toIntExact(mixture.parameters())];
        for (int s = 0; s < lora.sites().size(); s++) {
            var a = lora.sites().get(s);
            var b = mixture.sites().get(s);
            System.arraycopy(from, (int) a.offsetA(), to, (int) b.offsetA(), a.rank() * a.in());
            for (int row = 0; row < a.out(); row++) {
                for (int j = 0; j < b.heads(); j++) {
                    int at = (int) b.offsetB() + (row * b.heads() + j) * a.rank();
                    System.arraycopy(from, (int) a.offsetB() + row * a.rank(), to, at, a.rank());
                }
            }
            for (int i = 0; i < b.heads() * b.in(); i++) {
                to[(int) b.offsetRouter() + i] = (float) random.nextGaussian();
            }
        }
        return to;
    }

    private static float[] random(LoraLayout layout) {
        var random = new Random(4);
        var values = new float[Math.toIntExact(layout.parameters())];
        for (int i = 0; i < values.length; i++) {
            values[i] = 0.2f * (float) random.nextGaussian();
        }
        return values;
    }

    private AdapterSlots slots(AdapterLayout layout, float[] values) {
        var slots = new AdapterSlots(device, layout, 1, true);
        slots.parameters().upload(values);
        return slots;
    }

    private static double largest(float[] values) {
        double largest = 0;
        for (float v : values) {
            largest = Math.max(largest, Math.abs(v));
        }
        return largest;
    }

    /** With one head w = 1; with heads alike the weights sum to 1. Dropout's mask is the same. */
    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void headsThatAreAlikeAreLora(int heads) {
        for (float dropout : new float[] {0, 0.4f}) {
            var lora = new LoraLayout(model.config(), config(dropout));
            var mixture = new MixtureLayout(model.config(), config(dropout), heads);
            float[] values = random(lora);
            try (var ofLora = slots(lora, values);
                    var ofMixture = slots(mixture, alike(lora, values, mixture));
                    var loraPass = new ModelPass(model, LIMITS, lora, true);
                    var mixturePass = new ModelPass(model, LIMITS, mixture, true)) {
                var pack = GOLDEN.pack();
                loraPass.forwardBackward(pack, ofLora, 11, 3);
                mixturePass.forwardBackward(pack, ofMixture, 11, 3);
                float[] logprob = Arrays.copyOf(mixturePass.logprob(), pack.lossRows());
                assertThat(Golden.error(logprob, Arrays.copyOf(loraPass.logprob(), pack.lossRows()))).isLessThan(ROUNDING);

                float[] expected = ofLora.gradients().toFloats();
                float[] actual = ofMixture.gradients().toFloats();
                for (int s = 0; s < lora.sites().size(); s++) {
                    var of = lora.sites().get(s).matrices();
                    var in = mixture.sites().get(s).matrices();
                    String path = lora.sites().get(s).path();
                    assertThat(Golden.error(in.getFirst().gather(actual, 0), of.getFirst().gather(expected, 0))).as(path + " A")
                            .isLessThan(1e-5);
                    // The gradients of the heads are the LoRA's, shared out by the weights, which sum to 1.
                    var sum = new float[of.get(1).rows() * of.get(1).columns()];
                    for (int j = 0; j < heads; j++) {
                        float[] b = in.get(1 + j).gather(actual, 0);
                        for (int i = 0; i < sum.length; i++) {
                            sum[i] += b[i];
                        }
                    }
                    assertThat(Golden.error(sum, of.get(1).gather(expected, 0))).as(path + " B").isLessThan(1e-5);
                    // Whatever the router says, the output is the same: its gradient is zero to rounding.
                    assertThat(largest(in.getLast().gather(actual, 0))).as(path + " router")
                            .isLessThanOrEqualTo(1e-5 * largest(in.getFirst().gather(actual, 0)));
                }
            }
        }
    }

    /** All B are zero: the base model's output, no gradient for A and router, but one for every B. */
    @Test
    void aNewMixtureIsTheBaseModelAndLearnsFromB() {
        var layout = new MixtureLayout(model.config(), config(0), 4);
        try (var adapter = LoraAdapter.create(device, layout, 1);
                var slots = slots(layout, adapter.parameters().toFloats());
                var pass = new ModelPass(model, LIMITS, layout, true)) {
            var pack = GOLDEN.pack();
            pass.forward(pack, null);
            float[] base = Arrays.copyOf(pass.logprob(), pack.lossRows());
            pass.forwardBackward(pack, slots, 0, 0);
            assertThat(Golden.error(Arrays.copyOf(pass.logprob(), pack.lossRows()), base)).isLessThan(1e-6);
            float[] gradients = slots.gradients().toFloats();
            for (var site : layout.sites()) {
                var matrices = site.matrices();
                assertThat(largest(matrices.getFirst().gather(gradients, 0))).as(site.path() + " A").isZero();
                assertThat(largest(matrices.getLast().gather(gradients, 0))).as(site.path() + " router").isZero();
                float[] first = matrices.get(1).gather(gradients, 0);
                for (var b : matrices.subList(1, matrices.size() - 1)) {
                    assertThat(largest(b.gather(gradients, 0))).as(site.path() + " " + b.name()).isPositive();
                }
                assertThat(matrices.get(2).gather(gradients, 0)).as("the router tells heads apart").isNotEqualTo(first);
            }
        }
    }

    /** Each sequence with its own adapter, and the base model beside them, in one batch as alone. */
    @Test
    void severalMixturesShareABatch() {
        var layout = new MixtureLayout(model.config(), config(0), 2);
        var lora = new LoraLayout(model.config(), config(0));
        float[] first = alike(lora, random(lora), layout);
        float[] second = first.clone();
        for (int i = 0; i < second.length; i++) {
            second[i] *= i % 3 == 0 ? -1 : 0.5f;
        }
        try (var a = LoraAdapter.of(layout, device.zeros(DType.F32, layout.parameters()));
                var b = LoraAdapter.of(layout, device.zeros(DType.F32, layout.parameters()))) {
            a.parameters().upload(first);
            b.parameters().upload(second);
            var greedy = GenerationOptions.greedy(12);
            try (var both = AdapterSlots.of(List.of(a, b));
                    var generator = new Generator(model, both, 3, 90);
                    var alone = new Generator(model, AdapterSlots.of(a), 40);
                    var other = new Generator(model, AdapterSlots.of(b), 40);
                    var base = new Generator(model, null, 40)) {
                int[] prompt = GOLDEN.prompt();
                var requests = Stream.of(1, AdapterSlots.BASE, 0).map(slot -> new GenerationRequest(prompt, slot, greedy))
                        .toList();
                var together = generator.generate(requests, (sequence, token) -> true);
                assertThat(together.get(0).tokens()).isEqualTo(other.generate(prompt, greedy));
                assertThat(together.get(1).tokens()).isEqualTo(base.generate(prompt, greedy));
                assertThat(together.get(2).tokens()).isEqualTo(alone.generate(prompt, greedy));
                assertThat(together.get(0).tokens()).isNotEqualTo(together.get(2).tokens());
            }
            try (var plain = LoraAdapter.create(device, lora, 1)) {
                assertThatThrownBy(() -> AdapterSlots.of(List.of(plain, a))).isInstanceOf(InputException.class)
                        .hasMessageContaining("adapter 1 has a mixture of 2 heads, not one B for each A as adapter 0")
                        .hasMessageContaining("kind");
            }
        }
    }
}
