package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

class GeneratorTest {
    static final String[] NAMES = Golden.NAMES;

    private static Device device;

    @BeforeAll
    static void open() {
        device = Device.cpu();
    }

    @AfterAll
    static void close() {
        device.close();
    }

    @ParameterizedTest
    @FieldSource("NAMES")
    void cachedTokensGiveTheLogitsOfAFullPass(String name) {
        assertCachedTokensGiveTheLogitsOfAFullPass(Golden.read(name), device);
    }

    static void assertCachedTokensGiveTheLogitsOfAFullPass(Golden golden, Device device) {
        var ids = golden.sequences()[2];
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = AdapterSlots.of(adapter);
                var generator = new Generator(model, slots, ids.length)) {
            int vocab = model.config().vocabSize();
            var expected = golden.tensors().get("logits.2");
            int prompt = 9;
            generator.append(ids, prompt);
            for (int t = prompt; t < ids.length; t++) {
                var logits = generator.append(new int[] {ids[t]}, 1);
                assertThat(Golden.error(logits, Arrays.copyOfRange(expected, t * vocab, (t + 1) * vocab)))
                        .as("token " + t)
                        .isLessThan(1e-5);
            }
        }
    }

    @Test
    void usesTheAdapterOfItsSlot() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 3, false);
                var base = new Generator(model, null, 64);
                var empty = new Generator(model, slots, 0, 64);
                var filled = new Generator(model, slots, 1, 64)) {
            long p = adapter.layout().parameters();
            slots.parameters().copyFrom(adapter.parameters(), 0, p, p);
            var greedy = GenerationOptions.greedy(14);
            assertThat(filled.generate(golden.prompt(), greedy)).isEqualTo(golden.continuation());
            assertThat(empty.generate(golden.prompt(), greedy)).isEqualTo(base.generate(golden.prompt(), greedy));
        }
    }

    @Test
    void stopsBeforeAStopTokenAndIsSeeded() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var generator = new Generator(model, null, 64)) {
            var prompt = golden.prompt();
            var all = generator.generate(prompt, GenerationOptions.greedy(10));
            int stop = all[4];
            int first = 0;
            while (all[first] != stop) {
                first++;
            }
            assertThat(generator.generate(prompt, GenerationOptions.greedy(10, stop)))
                    .isEqualTo(Arrays.copyOf(all, first));
            var sampled = generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 5, new int[0]));
            assertThat(generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 5, new int[0])))
                    .isEqualTo(sampled);
            assertThat(generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 6, new int[0])))
                    .isNotEqualTo(sampled);
        }
    }

    @Test
    void refusesWhatItCannotContinue() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var generator = new Generator(model, null, 16)) {
            assertThatThrownBy(() -> generator.generate(new int[0], GenerationOptions.greedy(1)))
                    .isInstanceOf(InputException.class).hasMessageContaining("no tokens");
            assertThatThrownBy(() -> generator.generate(new int[] {5, 99}, GenerationOptions.greedy(1)))
                    .isInstanceOf(InputException.class).hasMessageContaining("99");
            assertThatThrownBy(() -> generator.generate(new int[] {5}, GenerationOptions.greedy(16)))
                    .isInstanceOf(InputException.class).hasMessageContaining("do not fit 16");
            assertThatThrownBy(() -> new Generator(model, null, 129))
                    .isInstanceOf(InputException.class).hasMessageContaining("128");
        }
    }
}
