package io.metalora.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.Device;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Folders of mixtures: HydraLoRA's are read, ours hold the same tensors, and neither is taken for plain LoRA. */
class MixtureFolderTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Path GOLDEN = golden();
    private static final ModelConfig MODEL = ModelConfig.read(GOLDEN.resolve("model"));
    private static final String CONFIG = "adapter_config.json";
    private static final String WEIGHTS = "adapter_model.safetensors";
    private static final String Q = "base_model.model.model.layers.0.self_attn.q_proj.";

    private static Device device;

    @TempDir
    private Path folder;
    private Path adapter;

    private static Path golden() {
        try {
            return Path.of(MixtureFolderTest.class.getResource("/goldens/qwen3-mixture").toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    @BeforeAll
    static void open() {
        device = Device.cpu();
    }

    @AfterAll
    static void close() {
        device.close();
    }

    @BeforeEach
    void copy() throws IOException {
        adapter = Files.createDirectories(folder.resolve("hydralora"));
        for (String file : new String[] {CONFIG, WEIGHTS}) {
            Files.copy(GOLDEN.resolve("adapter").resolve(file), adapter.resolve(file), StandardCopyOption.REPLACE_EXISTING);
        }
    }

    private static Map<String, HostTensor> tensors(Path adapter) {
        try (var file = Safetensors.open(adapter.resolve(WEIGHTS))) {
            var values = new TreeMap<String, HostTensor>();
            for (String name : file.names()) {
                HostTensor t = file.tensor(name);
                values.put(name, HostTensor.of(name, t.toFloats(), t.shape()));
            }
            return values;
        }
    }

    private void config(Consumer<ObjectNode> change) throws IOException {
        Path file = adapter.resolve(CONFIG);
        var json = (ObjectNode) JSON.readTree(file.toFile());
        change.accept(json);
        Files.writeString(file, json.toString());
    }

    /** @param name of a tensor to its new one; null drops it */
    private void rename(UnaryOperator<String> name) {
        var changed = new HashMap<String, HostTensor>();
        tensors(adapter).forEach((tensor, t) -> {
            String to = name.apply(tensor);
            if (to != null) {
                changed.put(to, HostTensor.of(to, t.toFloats(), t.shape()));
            }
        });
        Safetensors.write(adapter.resolve(WEIGHTS), changed, Map.of());
    }

    private void refused(String... words) {
        assertThatThrownBy(() -> LoraAdapter.load(adapter, MODEL, device).close())
                .isInstanceOf(InputException.class).message().contains(words);
    }

    @Test
    void everyHeadLiesWhereTheLayoutSays() {
        try (var read = LoraAdapter.load(adapter, MODEL, device)) {
            var layout = (MixtureLayout) read.layout();
            assertThat(layout.heads()).isEqualTo(3);
            assertThat(layout.config().scale()).isEqualTo(5f / 2);
            assertThat(layout.sites()).hasSize(12);
            var all = read.parameters().toFloats();
            var site = layout.sites().getFirst();
            var expected = tensors(adapter);
            assertThat(Arrays.copyOfRange(all, (int) site.offsetA(), (int) site.offsetB()))
                    .isEqualTo(expected.get(Q + "lora_A.weight").toFloats());
            for (int j = 0; j < 3; j++) {
                float[] b = expected.get(Q + "lora_B" + j + ".weight").toFloats();
                for (int row = 0; row < site.out(); row++) {
                    for (int i = 0; i < 2; i++) {
                        assertThat(all[(int) site.offsetB() + row * 6 + j * 2 + i]).isEqualTo(b[row * 2 + i]);
                    }
                }
            }
            assertThat(Arrays.copyOfRange(all, (int) site.offsetRouter(), (int) site.offsetRouter() + 3 * site.in()))
                    .isEqualTo(expected.get(Q + "lora_route.weight").toFloats());
        }
    }

    @Test
    void theSameTensorsAreWrittenUnderATypeThatPeftHasNot() throws IOException {
        Path ours = folder.resolve("ours");
        try (var read = LoraAdapter.load(adapter, MODEL, device)) {
            read.save(ours, "golden");
            try (var again = LoraAdapter.load(ours, MODEL, device)) {
                assertThat(again.layout()).isEqualTo(read.layout());
                assertThat(again.layout().config().scale()).isEqualTo(read.layout().config().scale());
                assertThat(again.parameters().toFloats()).isEqualTo(read.parameters().toFloats());
            }
        }
        var expected = tensors(adapter);
        var written = tensors(ours);
        assertThat(written.keySet()).isEqualTo(expected.keySet());
        expected.forEach((name, t) -> {
            assertThat(written.get(name).shape()).as(name).isEqualTo(t.shape());
            assertThat(written.get(name).toFloats()).as(name).isEqualTo(t.toFloats());
        });
        var json = JSON.readTree(ours.resolve(CONFIG).toFile());
        assertThat(json.get("peft_type").asText()).isEqualTo("METALORA_MIXTURE");
        assertThat(json.get("lora_nums").asInt()).isEqualTo(3);
        assertThat(json.get("r").asInt()).isEqualTo(2);
        assertThat(json.get("lora_alpha").asInt()).isEqualTo(5);
    }

    @Test
    void aMixtureOfOneHeadIsNoPlainLora() throws IOException {
        config(json -> json.put("lora_nums", 1));
        refused("lora_B1.weight", "lora_nums 1");

        rename(name -> name.matches(".*lora_B[12].*") ? null : name);
        refused("lora_route.weight has shape [3, ", "heads are 3, but lora_nums", "is 1");

        copy();
        var plain = new HashMap<String, HostTensor>();
        tensors(adapter).forEach((name, t) -> {
            if (name.contains("lora_route")) {
                plain.put(name, HostTensor.of(name, Arrays.copyOf(t.toFloats(), (int) t.shape()[1]), 1, t.shape()[1]));
            } else if (!name.matches(".*lora_B[12].*")) {
                plain.put(name, t);
            }
        });
        Safetensors.write(adapter.resolve(WEIGHTS), plain, Map.of());
        config(json -> json.put("lora_nums", 1));
        try (var one = LoraAdapter.load(adapter, MODEL, device)) {
            assertThat(((MixtureLayout) one.layout()).heads()).isEqualTo(1);
        }
        config(json -> json.remove("lora_nums"));
        refused("lora_B0.weight", "is of a mixture", "has no lora_nums");
    }

    @Test
    void tensorsOfPlainLoraAreNoMixture() {
        rename(name -> name.contains("lora_route") || name.matches(".*lora_B[12].*") ? null : name.replace("lora_B0", "lora_B"));
        refused("lora_B.weight", "is none of a mixture with lora_nums 3");
    }

    @ParameterizedTest
    @ValueSource(strings = {"lora_route", "lora_B2", "lora_A"})
    void aTensorThatIsMissingIsNamed(String matrix) {
        String missing = Q + matrix + ".weight";
        rename(name -> name.equals(missing) ? null : name);
        refused(missing, "is missing", "lora_nums 3");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "lora_nums   | 0        | must lie in 1",
        "lora_nums   | 2.5      | whole number",
        "lora_nums   | 60000    | columns",
        "r           | 3        | rank is 2, but r",
        "enable_lora | [true]   | not supported",
        "bias        | \"all\"  | trained biases"})
    void configurationsOfOtherMeaning(String key, String value, String reason) throws IOException {
        var node = JSON.readTree(value);
        config(json -> json.set(key, node));
        refused(CONFIG, reason);
    }

    @Test
    void aPickleIsRefusedWithTheWayToConvertIt() throws IOException {
        Files.move(adapter.resolve(WEIGHTS), adapter.resolve("adapter_model.bin"));
        refused("adapter_model.bin is a Python pickle", "safetensors.torch.save_file(torch.load(");
    }

    @Test
    void aNewMixtureChangesNothingYetItsHeadsDiffer() {
        var layout = new MixtureLayout(MODEL, new LoraConfig(4, 8, false, 0, TargetModules.of("q_proj")), 3);
        try (var made = LoraAdapter.create(device, layout, 7);
                var lora = LoraAdapter.create(device, new LoraLayout(MODEL, layout.config()), 7)) {
            var all = made.parameters().toFloats();
            var site = layout.sites().getFirst();
            var matrices = site.matrices();
            assertThat(matrices).extracting(AdapterMatrix::name)
                    .containsExactly("lora_A", "lora_B0", "lora_B1", "lora_B2", "lora_route");
            float[] a = matrices.getFirst().gather(all, 0);
            assertThat(a).isEqualTo(Arrays.copyOf(lora.parameters().toFloats(), a.length)); // as the LoRA of that seed begins
            for (int j = 1; j <= 3; j++) {
                assertThat(matrices.get(j).gather(all, 0)).containsOnly(0f);
            }
            float[] router = matrices.getLast().gather(all, 0);
            double bound = 1 / Math.sqrt(site.in());
            double mean = 0;
            double square = 0;
            for (float w : router) {
                assertThat(Math.abs(w)).isLessThanOrEqualTo((float) bound);
                mean += w / router.length;
                square += (double) w * w / router.length;
            }
            assertThat(Math.abs(mean)).isLessThan(bound / 4);
            assertThat(square).isBetween(bound * bound / 4, bound * bound / 2.4); // uniform: bound^2 / 3
            assertThat(Arrays.copyOf(router, site.in())).isNotEqualTo(Arrays.copyOf(a, site.in()));
        }
    }

    @Test
    void layoutsSayHowTheyDiffer() {
        var config = new LoraConfig(2, 4, false, 0, TargetModules.of("q_proj"));
        var three = new MixtureLayout(MODEL, config, 3);
        assertThat(three).isEqualTo(new MixtureLayout(MODEL, config, 3)).isNotEqualTo(new LoraLayout(MODEL, config));
        assertThat(three.difference(new MixtureLayout(MODEL, config, 2))).isEqualTo("3 heads, not 2");
        assertThat(three.difference(new LoraLayout(MODEL, config))).isEqualTo("a mixture of 3 heads, not one B for each A");
        assertThat(new LoraLayout(MODEL, config).difference(three)).isEqualTo("one B for each A, not a mixture of 3 heads");
        var k = new MixtureLayout(MODEL, new LoraConfig(2, 4, false, 0, TargetModules.of("k_proj")), 3);
        assertThat(three.difference(k)).isEqualTo("an adapter on model.layers.0.self_attn.q_proj, where there is none");
        assertThat(k.difference(three)).isEqualTo("nothing on model.layers.0.self_attn.q_proj");
        assertThatThrownBy(() -> new MixtureLayout(MODEL, config, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("0 heads");
    }
}
