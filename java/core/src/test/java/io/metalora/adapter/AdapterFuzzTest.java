package io.metalora.adapter;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.io.ModelConfig;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Adapters as they come from elsewhere: a PEFT folder for a model of one layer. */
class AdapterFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();

    private static final ModelConfig MODEL = model("""
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4, "intermediate_size": 6,
            "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
            "max_position_embeddings": 64, "hidden_act": "silu"}""");

    private static final String CONFIG = """
            {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"]}""";

    private static final String MIXTURE = CONFIG.replace("}", ", \"lora_nums\": 2}");

    private static ModelConfig model(String config) {
        Reading.write(FOLDER.resolve("config.json"), config.getBytes(StandardCharsets.UTF_8));
        return ModelConfig.read(FOLDER);
    }

    @FuzzTest
    void adapterConfig(byte[] config) {
        Reading.write(FOLDER.resolve(PeftConfig.FILE), config);
        Reading.check(PeftConfig.FILE, config, () -> PeftFormat.layout(FOLDER, MODEL));
    }

    @FuzzTest
    void adapterFile(byte[] weights) {
        checkFile(CONFIG, weights);
    }

    /** HydraLoRA's configuration, whose number of heads says which tensors there are; those are not looked for yet. */
    @FuzzTest
    void mixtureConfig(byte[] config) {
        adapterConfig(config);
    }

    @FuzzTest
    void mixtureFile(byte[] weights) {
        checkFile(MIXTURE, weights);
    }

    private static void checkFile(String config, byte[] weights) {
        Reading.write(FOLDER.resolve(PeftConfig.FILE), config.getBytes(StandardCharsets.UTF_8));
        Reading.write(FOLDER.resolve(PeftTensors.FILE), weights);
        Reading.check(PeftTensors.FILE, weights, () -> {
            try (var reader = AdapterFormat.PEFT.open(FOLDER, MODEL)) {
                reader.read((values, offset) -> { });
            }
        });
    }
}
