package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.HostTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Models and adapters that hold a NaN or an infinity: every verb names file, tensor and element. */
class NotFiniteTest {

    @TempDir
    private Path folder;

    private record Values(long[] shape, float[] values) {
    }

    private static Map<String, Values> read(Path file) {
        var tensors = new TreeMap<String, Values>();
        try (var in = Safetensors.open(file)) {
            for (String name : in.names()) {
                var tensor = in.tensor(name);
                tensors.put(name, new Values(tensor.shape(), tensor.toFloats()));
            }
        }
        return tensors;
    }

    private static void write(Path file, Map<String, Values> tensors, boolean bf16) throws IOException {
        if (!bf16) {
            var out = new TreeMap<String, HostTensor>();
            tensors.forEach((name, t) -> out.put(name, HostTensor.of(name, t.values, t.shape)));
            Safetensors.write(file, out, Map.of());
            return;
        }
        var header = new LinkedHashMap<String, Object>();
        long end = 0;
        for (var entry : tensors.entrySet()) {
            long begin = end;
            end += 2L * entry.getValue().values.length;
            header.put(entry.getKey(), Map.of("dtype", "BF16", "shape", entry.getValue().shape, "data_offsets", new long[] {begin, end}));
        }
        byte[] json = new ObjectMapper().writeValueAsString(header).getBytes(StandardCharsets.UTF_8);
        var bytes = ByteBuffer.allocate((int) (8 + json.length + end)).order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).put(json);
        for (var tensor : tensors.values()) {
            for (float value : tensor.values) {
                bytes.putShort((short) (Float.floatToRawIntBits(value) >>> 16));
            }
        }
        Files.write(file, bytes.array());
    }

    private List<Cli.Result> everyVerb(Path model, Path adapter) throws IOException {
        Path tasks = Files.exists(folder.resolve("tasks")) ? folder.resolve("tasks") : Cli.tasks(folder);
        var results = new ArrayList<Cli.Result>();
        for (List<Object> verb : List.<List<Object>>of(List.of("generate", "--prompt", "cat train0 is"),
                List.of("score", "--data", Cli.fixture("data.jsonl")), List.of("eval", "--tasks", tasks))) {
            var args = new ArrayList<>(verb);
            args.addAll(List.of("--model", model));
            if (adapter != null) {
                args.addAll(List.of("--adapter", adapter));
            }
            results.add(Cli.run(args.toArray()));
        }
        Path config = Cli.config(folder, tasks, folder.resolve("run" + System.nanoTime()));
        for (String method : List.of("meta-lora", "joint-lora")) {
            var args = new ArrayList<Object>(List.of("train", config, "model=" + model, "method=" + method,
                    "output=" + folder.resolve(method + System.nanoTime())));
            if (adapter != null) {
                args.add("adapter.init=" + adapter);
            }
            results.add(Cli.run(args.toArray()));
        }
        return results;
    }

    private static void refused(List<Cli.Result> results, Object... words) {
        for (var result : results) {
            for (Object word : words) {
                assertThat(result.err()).contains(word.toString());
            }
            assertThat(result.code()).as(result.err()).isEqualTo(2);
            assertThat(result.out()).doesNotContain("Trained", "NaN");
        }
    }

    @ParameterizedTest
    @CsvSource({"model.embed_tokens.weight, 35, NaN", "model.layers.1.input_layernorm.weight, 31, NaN",
        "model.layers.0.self_attn.q_proj.weight, 1, NaN", "model.layers.1.mlp.down_proj.weight, 2047, Infinity",
        "model.norm.weight, 0, -Infinity", "lm_head.weight, 10239, NaN"})
    void aBaseModelThatIsNotFiniteIsNamed(String tensor, int element, float value) throws IOException {
        for (boolean bf16 : new boolean[] {false, true}) {
            Path model = Cli.copyOfModel(folder.resolve("bf16 " + bf16));
            Path file = model.resolve("model.safetensors");
            var tensors = read(file);
            if (tensor.equals("lm_head.weight")) {
                Path config = model.resolve("config.json");
                Files.writeString(config, Files.readString(config).replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"));
                tensors.put(tensor, new Values(tensors.get("model.embed_tokens.weight").shape,
                        tensors.get("model.embed_tokens.weight").values.clone()));
            }
            tensors.get(tensor).values[element] = value;
            write(file, tensors, bf16);
            refused(everyVerb(model, null), file, "tensor " + tensor + " holds " + value + " at element " + element,
                    "the model is damaged");
        }
    }

    /** Of files that are gone nothing is claimed. */
    @Test
    void weightsThatCannotBeReadAnyMoreAreNotCalledFinite() throws IOException {
        Path model = Cli.copyOfModel(folder);
        try (var loaded = LoadedModel.open(model, new DeviceOptions(Backend.CPU, 1))) {
            assertThat(loaded.model().notFinite(null)).hasMessageContaining("NaN or infinity, though its weights are finite;");
            Files.delete(model.resolve("model.safetensors"));
            assertThat(loaded.model().notFinite(null)).hasMessageContaining("whether its weights are finite can no longer be checked")
                    .hasMessageContaining("model.safetensors").hasMessageNotContaining("though its weights are");
        }
    }

    @Test
    void theAdapterIsNotBlamedForTheModel() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path file = model.resolve("model.safetensors");
        var tensors = read(file);
        tensors.get("model.norm.weight").values[3] = Float.NaN;
        write(file, tensors, false);
        refused(everyVerb(model, Cli.fixture("adapter")), file, "tensor model.norm.weight holds NaN at element 3");
    }

    @ParameterizedTest
    @CsvSource({"lora_A, 5, NaN", "lora_B, 0, Infinity"})
    void anAdapterThatIsNotFiniteIsNamed(String matrix, int element, float value) throws IOException {
        for (boolean bf16 : new boolean[] {false, true}) {
            Path adapter = copyOfAdapter("adapter " + bf16);
            Path file = adapter.resolve("adapter_model.safetensors");
            var tensors = read(file);
            String name = "base_model.model.model.layers.1.mlp.down_proj." + matrix + ".weight";
            tensors.get(name).values[element] = value;
            write(file, tensors, bf16);
            refused(everyVerb(Cli.model(), adapter), file, "tensor " + name + " holds " + value + " at element " + element);
        }
    }

    @Test
    void valuesTooLargeToComputeWithAreTheAdaptersOrTheModels() throws IOException {
        Path adapter = copyOfAdapter("adapter");
        Path file = adapter.resolve("adapter_model.safetensors");
        var tensors = read(file);
        tensors.forEach((name, t) -> java.util.Arrays.fill(t.values, 3e38f));
        write(file, tensors, false);
        var results = everyVerb(Cli.model(), adapter);
        refused(results.subList(0, 3), "NaN or infinity, though its weights are finite; the adapter's values are too large");
        // Before anything is learned no learning rate is to blame.
        refused(results.subList(3, 5), "NaN or infinity before anything is learned", "the adapter that training begins from holds values that are too large");
        assertThat(results).noneMatch(result -> result.err().contains("lower optimizer.lr"));

        Path model = Cli.copyOfModel(folder);
        file = model.resolve("model.safetensors");
        tensors = read(file);
        java.util.Arrays.fill(tensors.get("model.norm.weight").values, 3e38f);
        write(file, tensors, false);
        results = everyVerb(model, null);
        refused(results, "the model in " + model + " computes NaN or infinity", "its config.json or its weights are damaged");
        assertThat(results).noneMatch(result -> result.err().contains("lower optimizer.lr"));
    }

    private Path copyOfAdapter(String name) throws IOException {
        Path copy = Files.createDirectories(folder.resolve(name));
        for (String file : List.of("adapter_config.json", "adapter_model.safetensors")) {
            Files.copy(Cli.fixture("adapter").resolve(file), copy.resolve(file));
        }
        return copy;
    }
}
