package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.io.ModelConfig;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a pass takes and gives back. */
class ResourcesTest {
    private static final PassLimits LIMITS = PassLimits.ofTokens(64, 2);

    @TempDir
    private Path folder;

    private Device device;

    @BeforeEach
    void open() {
        device = Device.cpu();
    }

    @AfterEach
    void close() {
        device.close();
    }

    private static TokenPack pack(Golden golden) {
        return pack(golden, LIMITS);
    }

    private static TokenPack pack(Golden golden, PassLimits limits) {
        var pack = new TokenPack(limits);
        pack.clear(2);
        pack.add(0, golden.sequences()[0], 1, 1f);
        pack.add(1, golden.sequences()[2], 1, 1f);
        return pack;
    }

    @Test
    void aStepAllocatesNothing() {
        var golden = Golden.read("qwen3");
        var allocation = new ThreadAllocation();
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                var slots = new AdapterSlots(device, adapter.layout(), 2, true);
                var pass = new ModelPass(model, LIMITS, adapter.layout(), true)) {
            var pack = pack(golden);
            for (int i = 0; i < 3_000; i++) { // until the calls are compiled
                pass.forwardBackward(pack, slots, 1, i);
            }
            long held = device.info().memoryInUse();
            long before = allocation.bytes();
            int steps = 200;
            for (int i = 0; i < steps; i++) {
                pass.forwardBackward(pack, slots, 1, i);
            }
            long perStep = (allocation.bytes() - before) / steps;
            // One array of the size of the smallest activation would show.
            assertThat(perStep).as("bytes a step").isLessThan(1024);
            assertThat(device.info().memoryInUse()).isEqualTo(held);
        }
    }

    @Test
    void nothingLeaksInAThousandIterations() throws IOException {
        var golden = Golden.read("llama");
        var limits = PassLimits.ofTokens(2048, 2);
        long loaded;
        long withScratch = 0; // the ops keep their working memory from one iteration to the next
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults());
                var adapter = LoraAdapter.load(golden.adapter(), model.config(), device)) {
            loaded = device.info().memoryInUse();
            long residentAfterWarmUp = 0;
            for (int i = 0; i < 1_000; i++) {
                try (var slots = new AdapterSlots(device, adapter.layout(), 2, true);
                        var pass = new ModelPass(model, limits, adapter.layout(), true);
                        var generator = new Generator(model, slots, 32)) {
                    slots.setAll(adapter.parameters());
                    pass.forwardBackward(pack(golden, limits), slots, 0, 0);
                    generator.generate(golden.prompt(), GenerationOptions.greedy(2));
                }
                if (i == 0) {
                    withScratch = device.info().memoryInUse();
                }
                assertThat(device.info().memoryInUse()).isEqualTo(withScratch);
                if (i == 300) {
                    residentAfterWarmUp = resident();
                }
            }
            // A leak of the buffers of each iteration would come to gigabytes; the Java heap moves some.
            assertThat(resident() - residentAfterWarmUp).as("growth of resident memory").isLessThan(512L << 20);
        }
        assertThat(device.info().memoryInUse()).isEqualTo(withScratch - loaded);
    }

    private static long resident() throws IOException {
        System.gc();
        for (var line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmRSS:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
            }
        }
        throw new AssertionError("no VmRSS");
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama", "llama3-rope", "qwen3", "mistral-bf16", "qwen2-f16"})
    void estimatesAreExact(String name) {
        var golden = Golden.read(name);
        var weights = CausalLM.estimate(golden.model(), device, LoadOptions.defaults());
        try (var model = CausalLM.load(golden.model(), device, LoadOptions.defaults())) {
            assertThat(device.info().memoryInUse()).isEqualTo(weights.total());
            try (var adapter = LoraAdapter.load(golden.adapter(), model.config(), device);
                    var slots = AdapterSlots.of(adapter)) {
                new ModelPass(model, LIMITS, null, false).close(); // has the ops take their working memory
                for (boolean training : new boolean[] {false, true}) {
                    long before = device.info().memoryInUse();
                    var estimate = ModelPass.estimate(model.config(), model.device(), model.options(), LIMITS, adapter.layout(), training);
                    try (var pass = new ModelPass(model, LIMITS, adapter.layout(), training)) {
                        assertThat(device.info().memoryInUse() - before)
                                .as(pass + " training " + training)
                                .isEqualTo(estimate.total());
                    }
                }
                long before = device.info().memoryInUse();
                var estimate = Generator.estimate(model, slots, 3, 40);
                try (var generator = new Generator(model, slots, 3, 40)) {
                    assertThat(device.info().memoryInUse() - before).as(generator.toString())
                            .isEqualTo(estimate.total());
                }
            }
        }
    }

    @Test
    void evaluationHoldsOneLayerAndTrainingThoseFromTheFirstAdaptedOn() {
        try (var model = CausalLM.load(Golden.read("llama3-rope").model(), device, LoadOptions.defaults());
                var all = LoraAdapter.load(Golden.read("llama").adapter(), model.config(), device);
                var last = LoraAdapter.load(Golden.read("llama3-rope").adapter(), model.config(), device)) {
            long evaluation = ModelPass.estimate(model.config(), model.device(), model.options(), LIMITS, all.layout(), false).total();
            long lastLayer = ModelPass.estimate(model.config(), model.device(), model.options(), LIMITS, last.layout(), true).total();
            long bothLayers = ModelPass.estimate(model.config(), model.device(), model.options(), LIMITS, all.layout(), true).total();
            var c = model.config();
            long layer = 4L * LIMITS.tokens()
                    * (2 * c.heads() * c.headDim() + 2 * c.kvHeads() * c.headDim() + 2 * c.intermediateSize());
            assertThat(bothLayers - evaluation).isGreaterThan(layer);
            assertThat(lastLayer).isLessThan(bothLayers);
            assertThat(evaluation).isLessThan(lastLayer);
        }
    }

    @Test
    void anAdapterOfAnotherModelIsRefusedThoughItsOffsetsFit() throws IOException {
        try (var model = CausalLM.load(Golden.read("llama").model(), device, LoadOptions.defaults())) {
            var config = model.config();
            var q = new LoraConfig(2, 4, false, 0, TargetModules.of(List.of("q_proj")));
            var own = new LoraLayout(config, q);
            record Other(LoraLayout layout, String inModel, String inSlots) {
            }
            String path = "model.layers.0.self_attn.q_proj";
            int hidden = config.hiddenSize();
            for (var other : List.of(
                    new Other(new LoraLayout(resized("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"), q),
                            "is for a model of 1 layers, but this one has 2", "they have 1 layers, not 2"),
                    // the same targets on a model of wider heads
                    new Other(new LoraLayout(resized("\"head_dim\": " + config.headDim(), "\"head_dim\": " + 2 * config.headDim()), q),
                            path + " has shape [" + 2 * config.heads() * config.headDim() + ", " + hidden + "] there",
                            "they have " + path + " of shape"))) {
                assertThatThrownBy(() -> new ModelPass(model, LIMITS, other.layout, false)).isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining(other.inModel);
                try (var slots = new AdapterSlots(device, other.layout, 2, true); var pass = new ModelPass(model, LIMITS, own, false)) {
                    assertThatThrownBy(() -> new Generator(model, slots, 8)).isInstanceOf(IllegalArgumentException.class)
                            .hasMessageContaining(other.inModel);
                    assertThatThrownBy(() -> pass.forward(pack(Golden.read("llama")), slots))
                            .isInstanceOf(IllegalArgumentException.class).hasMessageContaining(other.inSlots);
                }
            }
            var k = new LoraLayout(config, new LoraConfig(2, 4, false, 0, TargetModules.of(List.of("o_proj"))));
            try (var slots = new AdapterSlots(device, k, 2, true); var pass = new ModelPass(model, LIMITS, own, true)) {
                assertThat(k.parameters()).isEqualTo(own.parameters());
                assertThatThrownBy(() -> pass.forward(pack(Golden.read("llama")), slots))
                        .hasMessageContaining("they have nothing on " + path);
                assertThatThrownBy(() -> pass.forwardBackward(pack(Golden.read("llama")), slots, 0, 0))
                        .hasMessageContaining("they have nothing on " + path);
            }
        }
    }

    /** The shape of a model with another number in its configuration. */
    private ModelConfig resized(String from, String to) throws IOException {
        String json = Files.readString(Golden.read("llama").model().resolve("config.json"));
        assertThat(json).contains(from);
        return ModelConfig.read(Files.writeString(Files.createTempDirectory(folder, "model").resolve("config.json"), json.replace(from, to))
                .getParent());
    }

    @Test
    void refusesWhatDoesNotFitAndSaysHowMuchIsNeeded() {
        var estimate = new MemoryEstimate(3L << 30, 512L << 20, 0);
        assertThatThrownBy(() -> estimate.requireFits("Loading m", "choose a smaller model", "memory", 192L << 20, 2L << 30))
                .isInstanceOf(InputException.class)
                .hasMessageContaining("Loading m needs 3.69 GiB")
                .hasMessageContaining("2.00 GiB are available")
                .hasMessageContaining("choose a smaller model");
        estimate.requireFits("Loading m", "", "memory", 192L << 20, 4L << 30);
        estimate.requireFits("Loading m", "", "memory", 192L << 20, -1); // the driver could not tell
    }

    @Test
    void closingTheDeviceClosesWhatIsOpen() {
        var other = Device.cpu();
        var model = CausalLM.load(Golden.read("llama").model(), other, LoadOptions.defaults());
        var pass = new ModelPass(model, LIMITS, null, false);
        other.close();
        pass.close();
        model.close();
        other.close();
        assertThatThrownBy(other::info).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
    }

    @Test
    void aPassOfAClosedModelIsAnErrorNotACrash() {
        try (var model = CausalLM.load(Golden.read("llama").model(), device, LoadOptions.defaults());
                var pass = new ModelPass(model, LIMITS, null, false)) {
            model.close();
            assertThatThrownBy(() -> pass.forward(pack(Golden.read("llama")), null))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("closed");
        }
    }
}
