package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.SystemMemory;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LoadedModelTest {
    private static final DeviceOptions CPU = DeviceOptions.cpu();

    @TempDir
    private Path folder;

    private static Path fixture(String name) {
        try {
            return Path.of(LoadedModelTest.class.getResource("/fixture/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void adaptersComeIntoSlotsInTheirOrder() {
        Path second = saved(0, 1f);
        try (var loaded = LoadedModel.open(fixture("model"), List.of(fixture("adapter"), second), CPU);
                var first = loaded.loadAdapter(fixture("adapter"));
                var other = loaded.loadAdapter(second)) {
            long p = first.layout().parameters();
            assertThat(loaded.slots().slots()).isEqualTo(2);
            assertThat(loaded.slots().parameters().view(0, p).toFloats()).isEqualTo(first.parameters().toFloats());
            assertThat(loaded.slots().parameters().view(p, p).toFloats()).isEqualTo(other.parameters().toFloats());
            assertThat(loaded.slots().parameters().view(2 * p, p).toFloats()).containsOnly(0f);
            assertThat(loaded.model().options().hasRoomFor(first.layout(), 2)).isTrue();
            assertThat(loaded.folder()).isEqualTo(fixture("model"));
        }
        try (var alone = LoadedModel.open(fixture("model"), CPU)) {
            assertThat(alone.slots()).isNull();
        }
    }

    /** An adapter like the fixture's but for its rank and alpha. */
    private Path saved(int moreRank, float timesAlpha) {
        Path to = folder.resolve("adapter-" + moreRank + "-" + timesAlpha);
        var config = ModelConfig.read(fixture("model"));
        var of = LoraAdapter.layout(fixture("adapter"), config).config();
        var changed = new LoraConfig(of.rank() + moreRank, timesAlpha * of.alpha(), of.rslora(), 0, of.targets());
        try (var device = Device.cpu(); var adapter = LoraAdapter.create(device, new LoraLayout(config, changed), 3)) {
            adapter.save(to, null);
        }
        return to;
    }

    @Test
    void adaptersThatCanNotBeSideBySideAreNamed() {
        Path rank = saved(1, 1f);
        Path alpha = saved(0, 2f);
        assertThatThrownBy(() -> LoadedModel.open(fixture("model"), List.of(fixture("adapter"), rank), CPU))
                .isInstanceOf(InputException.class).hasMessageContaining(rank + " has rank").hasMessageContaining("as " + fixture("adapter"));
        assertThatThrownBy(() -> LoadedModel.open(fixture("model"), List.of(alpha, fixture("adapter")), CPU))
                .isInstanceOf(InputException.class).hasMessageContaining(fixture("adapter") + " has the scale");
        assertThatThrownBy(() -> LoadedModel.open(fixture("model"), List.of(folder.resolve("none")), CPU))
                .isInstanceOf(InputException.class).hasMessageContaining(folder.resolve("none").toString());
    }

    @Test
    void closingClosesAllOfIt() {
        var loaded = LoadedModel.open(fixture("model"), List.of(fixture("adapter")), CPU);
        loaded.close();
        loaded.close();
        assertThatThrownBy(() -> loaded.device().info()).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> loaded.tokenizer().encode("x", true)).isInstanceOf(RuntimeException.class);
        assertThatThrownBy(() -> loaded.slots().parameters().toFloats()).isInstanceOf(IllegalStateException.class);
    }

    /** The tokenizer comes before the weights; a large one, left behind so often, would take over 250 MB. */
    @Test
    void aModelThatFailsToLoadLeavesNoTokenizerBehind() throws IOException {
        Assumptions.assumeTrue(SystemMemory.peak().isPresent(), "the system does not tell how much memory a process holds");
        Path damaged = folder.resolve("damaged");
        Files.createDirectory(damaged);
        Files.copy(fixture("model").resolve("config.json"), damaged.resolve("config.json"));
        Files.writeString(damaged.resolve("tokenizer.json"), words(60_000));
        Files.write(damaged.resolve("model.safetensors"), new byte[100]);
        long before = 0;
        for (int i = 0; i < 45; i++) {
            assertThatThrownBy(() -> LoadedModel.open(damaged, CPU)).isInstanceOf(InputException.class)
                    .hasMessageContaining("model.safetensors");
            if (i == 5) { // what the library and the heap take once is there
                before = SystemMemory.peak().getAsLong();
            }
        }
        assertThat(SystemMemory.peak().getAsLong() - before).isLessThan(150L << 20);
    }

    private static String words(int count) {
        return "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, "
                + "\"pre_tokenizer\": {\"type\": \"Whitespace\"}, "
                + "\"post_processor\": null, \"decoder\": null, "
                + "\"model\": {\"type\": \"WordLevel\", \"unk_token\": \"word0\", \"vocab\": {"
                + IntStream.range(0, count).mapToObj(i -> "\"word" + i + "\": " + i).collect(Collectors.joining(", ")) + "}}}";
    }

    @Test
    void leavesOpenWhatItWasGiven() {
        try (var device = Device.cpu(); var tokenizer = TextTokenizer.load(fixture("model"))) {
            var loaded = LoadedModel.load(fixture("model"), device, tokenizer, LoadOptions.defaults());
            assertThat(loaded.device()).isSameAs(device);
            assertThat(loaded.tokenizer()).isSameAs(tokenizer);
            long withModel = device.info().memoryInUse();
            loaded.close();
            assertThat(device.info().memoryInUse()).isLessThan(withModel);
            assertThat(tokenizer.encode("x", true)).isNotEmpty();
        }
    }
}
