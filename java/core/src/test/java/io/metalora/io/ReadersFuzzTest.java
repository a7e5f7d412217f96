package io.metalora.io;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.file.JsonObject;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.io.safetensors.SafetensorsHeader;
import io.metalora.runtime.DType;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Checkpoints as they come from elsewhere. */
class ReadersFuzzTest extends MutatedSeeds {
    private static final int DATA_BYTES = 64;

    private static final Path FOLDER = Reading.folder();

    /** Of a whole model without its index: the tensors a [2] and b [1]. */
    private static final String SHARD = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
            + "\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[8,10]}}";

    private static final String CONFIG = """
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 8,
            "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
            "max_position_embeddings": 64, "hidden_act": "silu"}""";

    @FuzzTest
    void safetensorsHeader(byte[] header) {
        Reading.check("fuzz.safetensors", header, () -> {
            var parsed = SafetensorsHeader.parse(Path.of("fuzz.safetensors"), header, DATA_BYTES);
            long covered = parsed.tensors().values().stream().mapToLong(e -> e.end() - e.begin()).sum();
            if (covered != DATA_BYTES) {
                throw new AssertionError("accepted tensors of " + covered + " bytes for " + DATA_BYTES + " of data");
            }
        });
    }

    @FuzzTest
    void safetensorsFile(byte[] bytes) {
        Path file = Reading.write(FOLDER.resolve("fuzz.safetensors"), bytes);
        Reading.check("fuzz.safetensors", bytes, () -> {
            try (var st = Safetensors.open(file)) {
                for (String name : st.names()) {
                    readTensor(st, name, bytes);
                }
            }
        });
    }

    private static void readTensor(Safetensors st, String name, byte[] bytes) {
        Reading.check("fuzz.safetensors", bytes, () -> { // a type the runtime lacks is refused
            var tensor = st.tensor(name);
            if (tensor.dtype() != DType.I32 && tensor.dtype() != DType.F64) {
                tensor.toFloats();
            }
        });
    }

    /** model.safetensors.index.json beside one shard. */
    @FuzzTest
    void weightIndex(byte[] index) {
        var shard = new byte[8 + SHARD.length() + 10];
        shard[0] = (byte) SHARD.length();
        System.arraycopy(SHARD.getBytes(StandardCharsets.US_ASCII), 0, shard, 8, SHARD.length());
        Reading.write(FOLDER.resolve("model-00001-of-00001.safetensors"), shard);
        Reading.write(FOLDER.resolve("model.safetensors.index.json"), index);
        Reading.check("model.safetensors.index.json", index, () -> {
            try (var files = ModelFiles.open(FOLDER)) {
                files.names().forEach(files::has);
            }
        });
    }

    @FuzzTest
    void modelConfig(byte[] config) {
        Reading.check("config.json", config, () -> ModelConfig.of(JsonObject.parse(Path.of("config.json"), config), null));
    }

    @FuzzTest
    void generationConfig(byte[] generation) {
        var config = JsonObject.parse(Path.of("config.json"), CONFIG.getBytes(StandardCharsets.UTF_8));
        Reading.check("generation_config.json", generation,
                () -> ModelConfig.of(config, JsonObject.parse(Path.of("generation_config.json"), generation)));
    }
}
