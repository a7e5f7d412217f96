package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.io.gguf.Gguf;
import io.metalora.runtime.HostTensor;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.TreeMap;

/**
 * A LoRA adapter as llama.cpp reads it (src/llama-adapter.cpp) and its convert_lora_to_gguf.py writes it. llama.cpp scales by
 * alpha / r alone, so that rsLoRA's root goes into alpha.
 */
final class GgufLora {

    /** GGML_QUANT_VERSION, which the converter states in every file. */
    private static final int QUANTIZATION_VERSION = 2;

    private GgufLora() {}

    /** @param values of the adapter, from an offset of its vector on */
    static void write(Path file, LoraLayout layout, ModelConfig model, AdapterFormat.Values values) {
        var byPeftName = new TreeMap<String, Part>(); // the order of tensors in PEFT's file, which the converter keeps
        for (var site : layout.sites()) {
            float[] of = values.at(site.offset(), site.parameters());
            for (var matrix : site.matrices()) {
                boolean isB = matrix.offset() == site.offsetB();
                float[] elements = matrix.gather(of, site.offset());
                String name = "blk." + site.layer() + "." + name(site.projection()) + ".weight." + (isB ? "lora_b" : "lora_a");
                int heads = isB ? heads(site.projection(), model) : 0;
                byPeftName.put(PeftTensors.name(site, matrix), new Part(name, HostTensor.of(name,
                        heads == 0 ? elements : interleaved(elements, heads, model.headDim(), matrix.columns()),
                        matrix.rows(), matrix.columns())));
            }
        }
        var tensors = new LinkedHashMap<String, HostTensor>();
        byPeftName.values().forEach(part -> tensors.put(part.name, part.tensor));
        LoraConfig config = layout.config();
        var keys = new LinkedHashMap<String, Object>();
        keys.put("general.architecture", architecture(model));
        keys.put("general.type", "adapter");
        keys.put("adapter.type", "lora");
        keys.put("general.name", nameOf(file));
        keys.put("adapter.lora.alpha", config.rslora() ? (float) (config.alpha() * Math.sqrt(config.rank())) : config.alpha());
        keys.put("general.quantization_version", QUANTIZATION_VERSION);
        Gguf.write(file, keys, tensors);
    }

    private record Part(String name, HostTensor tensor) {}

    /** What llama.cpp calls the model's architecture: Mistral is a Llama there. */
    private static String architecture(ModelConfig model) {
        return switch (model.architecture()) {
            case LLAMA, MISTRAL -> "llama";
            case QWEN2 -> "qwen2";
            case QWEN3 -> "qwen3";
        };
    }

    private static String name(Projection projection) {
        return switch (projection) {
            case Q -> "attn_q";
            case K -> "attn_k";
            case V -> "attn_v";
            case O -> "attn_output";
            case GATE -> "ffn_gate";
            case UP -> "ffn_up";
            case DOWN -> "ffn_down";
        };
    }

    /** The heads whose rows llama.cpp has in another order; 0 where it has none. */
    private static int heads(Projection projection, ModelConfig model) {
        return switch (model.architecture()) {
            case LLAMA, MISTRAL -> switch (projection) {
                case Q -> model.heads();
                case K -> model.kvHeads();
                case V, O, GATE, UP, DOWN -> 0;
            };
            case QWEN2, QWEN3 -> 0;
        };
    }

    /**
     * Rows of each head as llama.cpp rotates them, neighbours in a pair, where Hugging Face pairs i with i + headDim / 2.
     *
     * @param rows [heads * headDim, columns]
     */
    private static float[] interleaved(float[] rows, int heads, int headDim, int columns) {
        var out = new float[rows.length];
        int half = headDim / 2;
        for (int h = 0; h < heads; h++) {
            for (int i = 0; i < headDim; i++) {
                int from = h * headDim + i % 2 * half + i / 2;
                System.arraycopy(rows, from * columns, out, (h * headDim + i) * columns, columns);
            }
        }
        return out;
    }

    /** The file's name without its ending. */
    private static String nameOf(Path file) {
        String name = file.getFileName().toString();
        return name.endsWith(".gguf") && name.length() > 5 ? name.substring(0, name.length() - 5) : name;
    }
}
