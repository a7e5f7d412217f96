package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

class GeneratorTest {
    static final String[] NAMES = Golden.NAMES;

    private static final TokenListener IGNORE = (sequence, token) -> true;

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
            var request = new GenerationRequest(Arrays.copyOf(ids, prompt), 0, GenerationOptions.greedy(ids.length - prompt));
            var active = generator.sequences(List.of(request));
            generator.step(active);
            for (int t = prompt; t < ids.length; t++) {
                active.getFirst().append(ids[t]);
                generator.step(active);
                var logits = generator.logits(0);
                assertThat(Golden.error(logits, Arrays.copyOfRange(expected, t * vocab, (t + 1) * vocab)))
                        .as("token " + t)
                        .isLessThan(1e-5);
            }
        }
    }

    @ParameterizedTest
    @FieldSource("NAMES")
    void aBatchContinuesEachPromptAsItIsAlone(String name) {
        assertABatchContinuesEachPromptAsItIsAlone(Golden.read(name), device);
    }

    /** With adapters in mixed slots and without, prompts and continuations of unequal length, and stop tokens in some. */
    static void assertABatchContinuesEachPromptAsItIsAlone(Golden golden, Device device) {
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var other = LoraAdapter.create(device, adapter.layout(), 5)) {
            // Another adapter that changes the tokens: the A of a fresh one and all else of the golden's.
            for (var site : adapter.layout().sites()) {
                long a = (long) site.in() * adapter.layout().config().rank();
                other.parameters().copyFrom(adapter.parameters(), site.offset() + a, site.offset() + a, site.parameters() - a);
            }
            try (var slots = AdapterSlots.of(List.of(other, adapter));
                    var single = new Generator(model, slots, 60);
                    var batch = new Generator(model, slots, 9, 400);
                    var baseOnly = new Generator(model, null, 9, 400)) {
                var requests = new ArrayList<GenerationRequest>();
                var alone = new ArrayList<int[]>();
                int[] slotOf = {1, AdapterSlots.BASE, 0, 1, AdapterSlots.BASE, 0, 1, 0, AdapterSlots.BASE};
                for (int i = 0; i < slotOf.length; i++) {
                    int[] prompt = i == 0 ? golden.prompt() : Arrays.copyOf(golden.sequences()[i % 3], 1 + 3 * i % 8);
                    int count = i == 0 ? golden.continuation().length : 4 + 5 * i % 17;
                    var request = new GenerationRequest(prompt, slotOf[i], GenerationOptions.greedy(count));
                    int[] tokens = single.generate(List.of(request), IGNORE).getFirst().tokens();
                    if (i % 4 == 3) { // ends somewhere in its middle
                        int stop = tokens[tokens.length / 2];
                        request = new GenerationRequest(prompt, slotOf[i], GenerationOptions.greedy(count, stop));
                        tokens = Arrays.copyOf(tokens, indexOf(tokens, stop));
                    }
                    requests.add(request);
                    alone.add(tokens);
                }
                assertThat(alone.getFirst()).isEqualTo(golden.continuation());
                assertThat(single.generate(List.of(new GenerationRequest(golden.prompt(), 0, GenerationOptions.greedy(14))), IGNORE)
                        .getFirst().tokens()).isNotEqualTo(golden.continuation());

                for (int repeat = 0; repeat < 2; repeat++) { // the cache holds the first batch's when the second begins
                    var heard = new ArrayList<List<Integer>>();
                    requests.forEach(request -> heard.add(new ArrayList<>()));
                    var together = batch.generate(requests, (sequence, token) -> heard.get(sequence).add(token));
                    for (int i = 0; i < requests.size(); i++) {
                        assertThat(together.get(i).tokens()).as("sequence " + i).isEqualTo(alone.get(i));
                        assertThat(heard.get(i)).containsExactly(Arrays.stream(alone.get(i)).boxed().toArray(Integer[]::new));
                        assertThat(together.get(i).stopped()).isEqualTo(i % 4 == 3);
                    }
                }
                var base = requests.stream().filter(request -> request.slot() == AdapterSlots.BASE).toList();
                var baseAlone = IntStream.range(0, slotOf.length).filter(i -> slotOf[i] == AdapterSlots.BASE).mapToObj(alone::get).toList();
                for (var generator : List.of(batch, baseOnly)) {
                    assertThat(generator.generate(base, IGNORE).stream().map(Continuation::tokens).toList())
                            .usingRecursiveComparison().isEqualTo(baseAlone);
                }
            }
        }
    }

    private static int indexOf(int[] tokens, int token) {
        return IntStream.range(0, tokens.length).filter(i -> tokens[i] == token).findFirst().orElseThrow();
    }

    @Test
    void usesTheAdapterOfItsSlot() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 3, false);
                var base = new Generator(model, null, 64);
                var generator = new Generator(model, slots, 2, 128)) {
            long p = adapter.layout().parameters();
            slots.parameters().copyFrom(adapter.parameters(), 0, p, p);
            var greedy = GenerationOptions.greedy(14);
            var filled = new GenerationRequest(golden.prompt(), 1, greedy);
            var empty = new GenerationRequest(golden.prompt(), 0, greedy);
            var both = generator.generate(List.of(filled, empty), IGNORE);
            assertThat(both.getFirst().tokens()).isEqualTo(golden.continuation());
            assertThat(both.getLast().tokens()).isEqualTo(base.generate(golden.prompt(), greedy));
        }
    }

    @Test
    void theListenerEndsASequenceAndOthersGoOn() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var generator = new Generator(model, null, 2, 128)) {
            var request = new GenerationRequest(golden.prompt(), AdapterSlots.BASE, GenerationOptions.greedy(10));
            var all = generator.generate(List.of(request), IGNORE).getFirst().tokens();
            var heard = new int[1];
            var both = generator.generate(List.of(request, request), (sequence, token) -> sequence == 0 || ++heard[0] < 3);
            assertThat(both.get(0).tokens()).isEqualTo(all);
            assertThat(both.get(0).stopped()).isFalse();
            assertThat(both.get(1).tokens()).isEqualTo(Arrays.copyOf(all, 3));
            assertThat(both.get(1).stopped()).isTrue();
        }
    }

    @Test
    void everySequenceHasItsOwnSeed() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var generator = new Generator(model, null, 3, 128)) {
            var requests = IntStream.of(5, 6, 5).mapToObj(seed -> new GenerationRequest(golden.prompt(), AdapterSlots.BASE,
                    new GenerationOptions(20, 1f, 0.9f, seed, List.of()))).toList();
            var drawn = generator.generate(requests, IGNORE).stream().map(Continuation::tokens).toList();
            assertThat(drawn.get(0)).isEqualTo(drawn.get(2)).isNotEqualTo(drawn.get(1));
            assertThat(generator.generate(golden.prompt(), requests.get(1).options())).isEqualTo(drawn.get(1));
        }
    }

    /** Small objects, which a compiler may or may not leave, are the same in both models; arrays would be of other sizes. */
    @Test
    void aTokenAllocatesNothingOfTheModelsSizes() throws URISyntaxException {
        Path other = Path.of(getClass().getResource("/fixture/model").toURI());
        try (var narrow = CausalLM.load(Golden.read("llama").model(), device, LoadOptions.defaults());
                var wide = CausalLM.load(other, device, LoadOptions.defaults())) {
            assertThat(wide.config().layers()).isEqualTo(narrow.config().layers());
            long anArray = 4L * Math.min(wide.config().vocabSize() - narrow.config().vocabSize(),
                    narrow.config().hiddenSize() - wide.config().hiddenSize());
            assertThat(anArray).isPositive();
            assertThat(Math.abs(bytesAStep(wide) - bytesAStep(narrow))).as("bytes a step").isLessThan(anArray);
        }
    }

    /** The least of several measurements, after the calls were compiled: compiling them allocates as well. */
    private long bytesAStep(CausalLM model) {
        var layout = new LoraLayout(model.config(), new LoraConfig(2, 4, false, 0, TargetModules.of("q_proj", "down_proj")));
        var allocation = new ThreadAllocation();
        long least = Long.MAX_VALUE;
        try (var adapter = LoraAdapter.create(device, layout, 1); var slots = AdapterSlots.of(List.of(adapter, adapter));
                var generator = new Generator(model, slots, 3, 3 * 96)) {
            for (int i = 0; i < 200; i++) {
                long before = allocation.bytes();
                generator.generate(requests(4), IGNORE);
                long between = allocation.bytes();
                generator.generate(requests(84), IGNORE);
                long perStep = (allocation.bytes() - between - (between - before)) / 80;
                least = i < 150 ? least : Math.min(least, perStep);
            }
        }
        return least;
    }

    private static List<GenerationRequest> requests(int tokens) {
        return IntStream.of(1, AdapterSlots.BASE, 0)
                .mapToObj(slot -> new GenerationRequest(new int[] {3, 5, 8}, slot, GenerationOptions.greedy(tokens))).toList();
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
            var sampled = generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 5, List.of()));
            assertThat(generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 5, List.of())))
                    .isEqualTo(sampled);
            assertThat(generator.generate(prompt, new GenerationOptions(20, 1f, 0.9f, 6, List.of())))
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
            assertThatThrownBy(() -> new Generator(model, null, 2, 257))
                    .isInstanceOf(InputException.class).hasMessageContaining("257 tokens of 2 prompts").hasMessageContaining("128");
        }
    }

    @Test
    void refusesABatchAsAWhole() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = AdapterSlots.of(adapter);
                var generator = new Generator(model, slots, 2, 200)) {
            var fine = new GenerationRequest(golden.prompt(), 0, GenerationOptions.greedy(2));
            assertThatThrownBy(() -> generator.generate(List.of(fine, new GenerationRequest(new int[0], 0, fine.options())), IGNORE))
                    .isInstanceOf(InputException.class).hasMessageContaining("prompt 1 has no tokens");
            assertThatThrownBy(() -> generator.generate(List.of(fine, new GenerationRequest(new int[] {5, 99}, 0, fine.options())), IGNORE))
                    .isInstanceOf(InputException.class).hasMessageContaining("99");
            var long1 = new GenerationRequest(new int[] {5}, 0, GenerationOptions.greedy(120));
            assertThatThrownBy(() -> generator.generate(List.of(long1, long1), IGNORE))
                    .isInstanceOf(InputException.class).hasMessageContaining("2 prompts of 2 tokens and 240 new ones do not fit 200");
            assertThatThrownBy(() -> generator.generate(List.of(fine, new GenerationRequest(new int[] {5}, 0, GenerationOptions.greedy(128))), IGNORE))
                    .isInstanceOf(InputException.class).hasMessageContaining("prompt 1 of 1 tokens").hasMessageContaining("context of 128");
            assertThatThrownBy(() -> generator.generate(List.of(fine, fine, fine), IGNORE))
                    .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("3 requests");
            assertThatThrownBy(() -> generator.generate(List.of(new GenerationRequest(golden.prompt(), 1, fine.options())), IGNORE))
                    .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("slot 1 of 1");
            var base = new GenerationRequest(golden.prompt(), AdapterSlots.BASE, fine.options());
            assertThatThrownBy(() -> generator.generate(List.of(fine, base), IGNORE))
                    .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("AdapterSlots.of(List)");
            assertThat(generator.generate(List.of(base, base), IGNORE)).hasSize(2);
            assertThat(generator.generate(List.of(), IGNORE)).isEmpty();
        }
    }

    @Test
    void adaptersOfUnlikeShapesAreNotPutSideBySide() {
        var golden = Golden.read("llama");
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device)) {
            var of = adapter.layout().config();
            var rank = new LoraConfig(of.rank() + 1, of.alpha(), of.rslora(), 0, of.targets());
            var alpha = new LoraConfig(of.rank(), 2 * of.alpha(), of.rslora(), 0, of.targets());
            try (var otherRank = LoraAdapter.create(device, new LoraLayout(model.config(), rank), 1);
                    var otherScale = LoraAdapter.create(device, new LoraLayout(model.config(), alpha), 1)) {
                assertThatThrownBy(() -> AdapterSlots.of(List.of(adapter, otherRank))).isInstanceOf(InputException.class)
                        .hasMessageContaining("adapter 1 has rank " + rank.rank() + ", not " + of.rank() + " as adapter 0");
                assertThatThrownBy(() -> AdapterSlots.of(List.of(adapter, adapter, otherScale))).isInstanceOf(InputException.class)
                        .hasMessageContaining("adapter 2 has the scale");
            }
        }
    }
}
