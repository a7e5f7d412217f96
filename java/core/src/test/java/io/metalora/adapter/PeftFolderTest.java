package io.metalora.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Adapter folders: what PEFT wrote comes back as PEFT wrote it; what would be computed wrongly is refused. */
class PeftFolderTest {
    private static final ObjectMapper JSON = new ObjectMapper();

    private static Device device;

    @TempDir
    private Path folder;

    @BeforeAll
    static void open() {
        device = Device.cpu();
    }

    @AfterAll
    static void close() {
        device.close();
    }

    private static Path golden(String name) {
        try {
            return Path.of(PeftFolderTest.class.getResource("/goldens/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static ModelConfig model(String name) {
        return ModelConfig.read(golden(name).resolve("model"));
    }

    private static Map<String, float[]> tensors(Path adapter) {
        try (var file = Safetensors.open(adapter.resolve("adapter_model.safetensors"))) {
            var values = new TreeMap<String, float[]>();
            for (String name : file.names()) {
                values.put(name, file.tensor(name).toFloats());
            }
            return values;
        }
    }

    // ---- the way there and back

    @ParameterizedTest
    @ValueSource(strings = {"llama", "llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16", "qwen3"})
    void savesWhatPeftWrote(String name) throws IOException {
        Path peft = golden(name).resolve("adapter");
        Path ours = folder.resolve("adapter");
        try (var adapter = LoraAdapter.load(peft, model(name), device)) {
            adapter.save(ours, "golden");
        }

        var expected = tensors(peft);
        var actual = tensors(ours);
        assertThat(actual.keySet()).isEqualTo(expected.keySet());
        expected.forEach((tensor, values) -> assertThat(actual.get(tensor)).as(tensor).isEqualTo(values));
        try (var a = Safetensors.open(peft.resolve("adapter_model.safetensors"));
                var b = Safetensors.open(ours.resolve("adapter_model.safetensors"))) {
            for (String tensor : a.names()) {
                assertThat(b.tensor(tensor).shape()).as(tensor).isEqualTo(a.tensor(tensor).shape());
            }
        }
        JsonNode wrote = JSON.readTree(ours.resolve("adapter_config.json").toFile());
        JsonNode read = JSON.readTree(peft.resolve("adapter_config.json").toFile());
        for (var key : wrote.properties()) {
            if (!key.getKey().equals("target_modules")) { // a set there, of any order
                assertThat(key.getValue()).as(key.getKey()).isEqualTo(read.get(key.getKey()));
            }
        }
        assertThat(targets(wrote)).isEqualTo(targets(read));
    }

    private static TreeSet<String> targets(JsonNode config) {
        var names = new TreeSet<String>();
        JsonNode targets = config.get("target_modules");
        if (targets.isTextual()) {
            names.add(targets.asText());
        }
        targets.forEach(t -> names.add(t.asText()));
        return names;
    }

    @ParameterizedTest
    @EnumSource(value = DType.class, names = {"F16", "BF16"})
    void readsHalfPrecision(DType type) throws IOException {
        Path adapter = copy("llama");
        writeHalves(adapter.resolve("adapter_model.safetensors"), type);
        try (var read = LoraAdapter.load(adapter, model("llama"), device);
                var whole = LoraAdapter.load(golden("llama").resolve("adapter"), model("llama"), device)) {
            float[] halves = whole.parameters().toFloats();
            for (int i = 0; i < halves.length; i++) {
                halves[i] = type == DType.F16
                        ? Float.float16ToFloat(half(halves[i], type)) : Float.intBitsToFloat(half(halves[i], type) << 16);
            }
            assertThat(read.parameters().toFloats()).isEqualTo(halves);
        }
    }

    private static short half(float value, DType type) {
        return type == DType.F16 ? Float.floatToFloat16(value) : (short) (Float.floatToRawIntBits(value) >>> 16);
    }

    private static void writeHalves(Path file, DType type) throws IOException {
        ObjectNode header = JSON.createObjectNode();
        var data = new ByteArrayOutputStream();
        try (var weights = Safetensors.open(file)) {
            for (String name : weights.names()) {
                HostTensor tensor = weights.tensor(name);
                ObjectNode entry = header.putObject(name).put("dtype", type.name());
                entry.putPOJO("shape", tensor.shape());
                int begin = data.size();
                for (float value : tensor.toFloats()) {
                    short half = half(value, type);
                    data.write(half);
                    data.write(half >> 8);
                }
                entry.putArray("data_offsets").add(begin).add(data.size());
            }
        }
        byte[] json = JSON.writeValueAsBytes(header);
        try (var out = Files.newOutputStream(file)) {
            out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).array());
            out.write(json);
            data.writeTo(out);
        }
    }

    @Test
    void anAdapterOfMoreParametersThanAnyCanHaveIsRefused() {
        ModelConfig small = model("llama");
        assertThatThrownBy(() -> new LoraLayout(small, new LoraConfig(65_537, 4, false, 0, TargetModules.allLinear())))
                .isInstanceOf(InputException.class).hasMessageContaining("between 1 and 65536");
        var wide = new ModelConfig(small.architecture(), small.vocabSize(), 1 << 24, 1 << 24, small.layers(), small.heads(), small.kvHeads(),
                small.headDim(), small.rmsNormEps(), small.maxPositions(), small.rope(), small.tiedEmbeddings(), false, false, false, false,
                small.layerWindows(), small.eosTokenIds());
        assertThatThrownBy(() -> new LoraLayout(wide, new LoraConfig(65_536, 4, false, 0, TargetModules.allLinear())))
                .isInstanceOf(InputException.class).hasMessageContaining("more than the 2147483639").hasMessageContaining("lower the rank")
                .hasMessageNotContaining("-");
    }

    @Test
    void anAdapterThatIsNotFiniteIsNotWritten() {
        ModelConfig model = model("llama");
        var layout = new LoraLayout(model, new LoraConfig(2, 4, false, 0, TargetModules.of(List.of("q_proj"))));
        try (var adapter = LoraAdapter.create(device, layout, 1)) {
            adapter.parameters().view(layout.parameters() - 1, 1).upload(new float[] {Float.POSITIVE_INFINITY});
            Path dir = folder.resolve("saved");
            assertThatThrownBy(() -> adapter.save(dir, null)).isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(dir.toString()).hasMessageContaining("q_proj.lora_B.weight holds Infinity at element");
            assertThat(dir).doesNotExist();
        }
    }

    @Test
    void everyTargetOfThisProjectIsWrittenAsPeftReadsIt() throws IOException {
        ModelConfig model = model("llama");
        var forms = Map.of(
                TargetModules.of("q_proj", "v_proj"), "[\"q_proj\",\"v_proj\"]",
                TargetModules.ofString(".*layers\\.1\\..*(gate|up)_proj"), "\".*layers\\\\.1\\\\..*(gate|up)_proj\"",
                TargetModules.allLinear(),
                "[\"down_proj\",\"gate_proj\",\"k_proj\",\"o_proj\",\"q_proj\",\"up_proj\",\"v_proj\"]");
        for (var form : forms.entrySet()) {
            Path out = folder.resolve("targets-" + form.getValue().length());
            var layout = new LoraLayout(model, new LoraConfig(3, 5.5f, true, 0.25f, form.getKey()));
            try (var adapter = LoraAdapter.create(device, layout, 1)) {
                adapter.save(out, null);
                JsonNode config = JSON.readTree(out.resolve("adapter_config.json").toFile());
                assertThat(config.get("target_modules").toString()).isEqualTo(form.getValue());
                assertThat(config.get("lora_alpha").asDouble()).isEqualTo(5.5);
                assertThat(config.get("use_rslora").asBoolean()).isTrue();
                assertThat(config.get("base_model_name_or_path").isNull()).isTrue();
                try (var again = LoraAdapter.load(out, model, device)) {
                    assertThat(again.layout()).isEqualTo(layout);
                    assertThat(again.layout().config()).usingRecursiveComparison().ignoringFields("targets").isEqualTo(layout.config());
                    assertThat(again.parameters().toFloats()).isEqualTo(adapter.parameters().toFloats());
                }
            }
        }
    }

    // ---- what is refused

    private Path copy(String name) throws IOException {
        Path to = Files.createDirectories(folder.resolve("copy-" + name));
        for (String file : new String[] {"adapter_config.json", "adapter_model.safetensors"}) {
            Files.copy(golden(name).resolve("adapter").resolve(file), to.resolve(file), StandardCopyOption.REPLACE_EXISTING);
        }
        return to;
    }

    private static void refused(Path adapter, ModelConfig model, String... words) {
        assertThatThrownBy(() -> LoraAdapter.load(adapter, model, device).close())
                .isInstanceOf(InputException.class).message().contains(words);
    }

    private static void change(Path adapter, Consumer<ObjectNode> change) throws IOException {
        Path file = adapter.resolve("adapter_config.json");
        var json = (ObjectNode) JSON.readTree(file.toFile());
        change.accept(json);
        Files.writeString(file, json.toString());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "use_dora            | true                          | plain LoRA",
        "rank_pattern        | {\"q_proj\": 2}               | one rank",
        "alpha_pattern       | {\"q_proj\": 2}               | one alpha",
        "modules_to_save     | [\"lm_head\"]                 | plain LoRA",
        "layers_to_transform | []                            | plain LoRA",
        "lora_bias           | true                          | plain LoRA",
        "bias                | \"lora_only\"                 | trained biases",
        "init_lora_weights   | \"pissa_niter_4\"             | base model's weights",
        "peft_type           | \"IA3\"                       | supported is LORA",
        "task_type           | \"SEQ_CLS\"                   | supported is CAUSAL_LM",
        "r                   | 0                             | r",
        "lora_alpha          | -1                            | lora_alpha",
        "target_modules      | \"q_proj(\"                   | regular expression",
        "target_modules      | []                            | empty",
        "target_modules      | [\"query_key_value\"]         | matches no Linear"})
    void configurationsOfOtherMeaning(String key, String value, String reason) throws IOException {
        Path adapter = copy("llama");
        JsonNode node = JSON.readTree(value);
        change(adapter, json -> json.set(key, node));
        refused(adapter, model("llama"), key, reason);
    }

    @Test
    void configurationsOfOtherTools() throws IOException {
        Path adapter = copy("llama");
        Files.writeString(adapter.resolve("adapter_config.json"), "{\"fine_tune_type\": \"lora\", \"lora_parameters\": {\"rank\": 8}}");
        refused(adapter, model("llama"), "MLX", "peft_type is missing");
        Files.writeString(adapter.resolve("adapter_config.json"), "{\"peft_type\": \"LORA\",");
        refused(adapter, model("llama"), "adapter_config.json");
        Files.delete(adapter.resolve("adapter_config.json"));
        refused(adapter, model("llama"), "has no adapter_config.json");
    }

    @Test
    void aRankThatTheTensorsDoNotHave() throws IOException {
        Path adapter = copy("llama");
        int rank = JSON.readTree(adapter.resolve("adapter_config.json").toFile()).get("r").asInt();
        change(adapter, json -> json.put("r", rank + 1));
        refused(adapter, model("llama"), "rank is " + rank, "r in adapter_config.json is " + (rank + 1));
    }

    @Test
    void tensorsMissingOrOfNoUse() throws IOException {
        Path adapter = copy("llama");
        Path file = adapter.resolve("adapter_model.safetensors");
        var all = tensors(adapter);
        String first = all.keySet().iterator().next();

        rewrite(file, name -> name.equals(first) ? null : name);
        refused(adapter, model("llama"), first, "is missing");

        copy("llama");
        rewrite(file, name -> name.equals(first) ? "base_model.model.lm_head.lora_A.weight" : name);
        refused(adapter, model("llama"), "lm_head", "no place in the model");

        copy("llama");
        rewrite(file, name -> name.replace(".weight", ".default.weight"));
        refused(adapter, model("llama"), "carries an adapter name");

        copy("llama");
        rewrite(file, name -> name.replace("base_model.model.", ""));
        refused(adapter, model("llama"), "does not begin with base_model.model.");

        Files.delete(file);
        Files.writeString(adapter.resolve("adapter_model.bin"), "");
        refused(adapter, model("llama"), "pickle", "safe_serialization");
    }

    private void rewrite(Path file, UnaryOperator<String> name) throws IOException {
        try (var read = Safetensors.open(file)) {
            var changed = new HashMap<String, HostTensor>();
            for (String tensor : read.names()) {
                String to = name.apply(tensor);
                if (to != null) {
                    HostTensor t = read.tensor(tensor);
                    changed.put(to, HostTensor.of(to, t.toFloats(), t.shape()));
                }
            }
            Safetensors.write(folder.resolve("changed"), changed, Map.of());
        }
        Files.move(folder.resolve("changed"), file, StandardCopyOption.REPLACE_EXISTING);
    }

    @Test
    void anAdapterOfAnotherModel() throws IOException {
        refused(copy("llama"), model("qwen3"), "another model");
    }

    @Test
    void valuesThatAreNotNumbers() throws IOException {
        Path adapter = copy("llama");
        Path file = adapter.resolve("adapter_model.safetensors");
        byte[] bytes = Files.readAllBytes(file);
        for (int i = 1; i <= 4; i++) {
            bytes[bytes.length - i] = (byte) 0xff;
        }
        Files.write(file, bytes);
        refused(adapter, model("llama"), "NaN", "damaged");
    }

    @Test
    void aFolderOfOtherThingsIsNotWrittenOver() throws IOException {
        Path other = Files.createDirectories(folder.resolve("other"));
        Files.writeString(other.resolve("thesis.tex"), "years of work");
        try (var adapter = LoraAdapter.load(golden("llama").resolve("adapter"), model("llama"), device)) {
            assertThatThrownBy(() -> adapter.save(other, null)).isInstanceOf(InputException.class).message()
                    .contains(other.toString(), "thesis.tex", "choose another folder");
            assertThat(other.toFile().list()).containsExactly("thesis.tex");

            Path file = Files.writeString(folder.resolve("file"), "text");
            assertThatThrownBy(() -> adapter.save(file, null)).isInstanceOf(InputException.class).message().contains("is a file");
            assertThat(file).hasContent("text");
        }
    }
}
