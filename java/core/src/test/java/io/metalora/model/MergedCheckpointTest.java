package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.AdapterExport;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Merged checkpoints hold what PEFT's merge_and_unload gives (make_merge_goldens.py), and answer as base and adapter do. */
class MergedCheckpointTest {

    @TempDir
    private Path folder;

    private Path merge(Golden golden) {
        Path merged = folder.resolve("merged");
        AdapterExport.merged(golden.adapter(), golden.model(), merged);
        return merged;
    }

    private static List<Path> files(Path folder) throws IOException {
        try (var files = Files.list(folder)) {
            return files.sorted().toList();
        }
    }

    private static TreeMap<String, byte[]> tensors(Path folder) throws IOException {
        var tensors = new TreeMap<String, byte[]>();
        for (Path file : files(folder)) {
            if (file.toString().endsWith(".safetensors")) {
                try (var weights = Safetensors.open(file)) {
                    for (String name : weights.names()) {
                        tensors.put(name, bytes(weights.tensor(name)));
                    }
                }
            }
        }
        return tensors;
    }

    private static byte[] bytes(HostTensor tensor) {
        var bytes = new byte[Math.toIntExact(tensor.bytes())];
        tensor.copyBytes(0, bytes, 0, bytes.length);
        return bytes;
    }

    @ParameterizedTest
    @ValueSource(strings = {"llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16"})
    void holdsWhatPeftGives(String name) throws IOException {
        var golden = Golden.read(name);
        var before = tensors(golden.model());
        var after = tensors(merge(golden));
        assertThat(after.keySet()).isEqualTo(before.keySet());
        try (var peft = Safetensors.open(golden.folder().resolve("merged.safetensors"))) {
            for (String tensor : before.keySet()) {
                if (!peft.names().contains(tensor)) {
                    assertThat(after.get(tensor)).as(tensor).isEqualTo(before.get(tensor));
                } else if (peft.tensor(tensor).dtype() == DType.F32) { // summed in another order there
                    try (var file = Safetensors.open(fileOf(tensor))) {
                        assertThat(Golden.error(file.tensor(tensor).toFloats(), peft.tensor(tensor).toFloats())).as(tensor).isLessThan(1e-7);
                    }
                } else {
                    assertThat(after.get(tensor)).as(tensor).isEqualTo(bytes(peft.tensor(tensor)));
                }
            }
        }
    }

    private Path fileOf(String tensor) throws IOException {
        for (Path file : files(folder.resolve("merged"))) {
            if (file.toString().endsWith(".safetensors")) {
                try (var weights = Safetensors.open(file)) {
                    if (weights.names().contains(tensor)) {
                        return file;
                    }
                }
            }
        }
        throw new AssertionError(tensor);
    }

    /** The goldens' logits are of base and adapter in fp32; the types of 16 bits round the merged weights once more. */
    @ParameterizedTest
    @CsvSource({"llama, 1e-5", "llama3-rope, 1e-5", "llama-linear-sharded, 1e-5", "qwen3, 1e-5", "qwen2-f16, 1e-3", "mistral-bf16, 1e-2"})
    void answersAsBaseAndAdapter(String name, double tolerance) {
        var golden = Golden.read(name);
        try (var device = Device.cpu();
                var model = CausalLM.load(merge(golden), device, LoadOptions.defaults());
                var pass = new ModelPass(model, PassLimits.ofTokens(128, 1), null, false)) {
            ParityTest.assertLogits(golden, "logits.", model, pass, null, tolerance);
        }
    }

    @Test
    void hasTheShardsAndFilesOfItsBase() throws IOException {
        var golden = Golden.read("llama-linear-sharded");
        Path model = Files.createDirectory(folder.resolve("base"));
        for (Path file : files(golden.model())) {
            Files.copy(file, model.resolve(file.getFileName()));
        }
        for (String name : List.of("generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                "chat_template.jinja", "LICENSE")) {
            Files.writeString(model.resolve(name), "{}");
        }
        var expected = files(model).stream().map(Path::getFileName).toList();
        Files.writeString(model.resolve("pytorch_model.bin"), "of the base alone");

        Path merged = folder.resolve("merged");
        AdapterExport.merged(golden.adapter(), model, merged);
        assertThat(files(merged).stream().map(Path::getFileName)).isEqualTo(expected);
        for (Path file : files(merged)) {
            Path base = model.resolve(file.getFileName());
            if (file.toString().endsWith(".safetensors")) {
                assertThat(file).hasSize(Files.size(base));
            } else {
                assertThat(file).hasSameBinaryContentAs(base);
            }
        }
    }

    @Test
    void whatIsRefusedLeavesNothing() throws IOException {
        var golden = Golden.read("mistral-bf16");
        Path there = Files.createDirectory(folder.resolve("there"));
        assertThatThrownBy(() -> AdapterExport.merged(golden.adapter(), golden.model(), there)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(there + ": already exists");
        assertThat(there).isEmptyDirectory();

        var mixture = Golden.read("qwen3-mixture");
        assertThatThrownBy(() -> merge(mixture)).isInstanceOf(InputException.class).hasMessageContaining("is a mixture of 3 heads")
                .hasMessageContaining("--even-heads");

        Path model = Files.createDirectory(folder.resolve("base"));
        for (Path file : files(golden.model())) {
            Files.copy(file, model.resolve(file.getFileName()));
        }
        putNotANumber(model.resolve("model.safetensors"), "model.layers.1.self_attn.q_proj.weight");
        Path merged = folder.resolve("merged");
        assertThatThrownBy(() -> AdapterExport.merged(golden.adapter(), model, merged)).isInstanceOf(InputException.class)
                .hasMessageContaining("model.layers.1.self_attn.q_proj.weight would hold NaN at row 0, column 0");
        assertThat(files(folder)).containsExactly(model, there);
    }

    private static void putNotANumber(Path file, String tensor) throws IOException {
        byte[] first;
        try (var weights = Safetensors.open(file)) {
            first = Arrays.copyOf(bytes(weights.tensor(tensor)), 16);
        }
        byte[] all = Files.readAllBytes(file);
        int at = 0;
        while (!Arrays.equals(all, at, at + 16, first, 0, 16)) {
            at++;
        }
        try (var out = new RandomAccessFile(file.toFile(), "rw")) {
            out.seek(at);
            out.write(new byte[] {-1, 127});
        }
    }
}
