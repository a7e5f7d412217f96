package io.metalora.io;

import io.metalora.file.Folders;
import io.metalora.file.JsonObject;
import io.metalora.file.RegularFile;
import io.metalora.runtime.InputException;
import java.lang.System.Logger.Level;
import java.lang.System.Logger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The shape of a model, read from the config.json (and generation_config.json) of its Hugging Face folder, in either
 * generation of that format. Where a key is absent, the value is the one transformers assumes; a model that the
 * runtime would compute wrongly is refused by the name of what it needs.
 *
 * @param headDim features of one head; heads * headDim may differ from hiddenSize
 * @param maxPositions tokens of the longest sequence
 * @param tiedEmbeddings the output head is the embedding table
 * @param qkvBias biases on the query, key and value projections
 * @param outBias a bias on the attention's output projection
 * @param mlpBias biases on gate, up and down
 * @param qkNorm RMSNorm on every query and key head
 * @param layerWindows for each layer how many tokens back, itself included, a token attends to; 0 for all
 * @param eosTokenIds each ends a generation, the first ends a training example; config.json's before
 *     generation_config.json's
 */
public record ModelConfig(
        Architecture architecture,
        int vocabSize,
        int hiddenSize,
        int intermediateSize,
        int layers,
        int heads,
        int kvHeads,
        int headDim,
        float rmsNormEps,
        int maxPositions,
        RopeConfig rope,
        boolean tiedEmbeddings,
        boolean qkvBias,
        boolean outBias,
        boolean mlpBias,
        boolean qkNorm,
        List<Integer> layerWindows,
        List<Integer> eosTokenIds) {

    private static final Logger LOG = System.getLogger(ModelConfig.class.getName());

    private static final int MAX_SIZE = 1 << 24; // of a dimension: far above any model, and products stay in a long
    private static final int MAX_LAYERS = 1 << 12;

    public ModelConfig {
        Objects.requireNonNull(architecture, "architecture");
        Objects.requireNonNull(rope, "rope");
        layerWindows = List.copyOf(layerWindows);
        eosTokenIds = List.copyOf(eosTokenIds);
        if (layerWindows.size() != layers) {
            throw new IllegalArgumentException(layerWindows.size() + " windows for " + layers + " layers");
        }
    }

    /** How many tokens back, itself included, a token of {@code layer} attends to; 0 for all. */
    public int window(int layer) {
        return layerWindows.get(layer);
    }

    /**
     * Refuses a folder that cannot be a model's.
     *
     * @throws InputException that says what to give, and that nothing is downloaded
     */
    public static void requireFolder(Path modelDir) {
        Folders.require(modelDir, "a Hugging Face model (config.json, model.safetensors, tokenizer.json)");
    }

    /** Reads the configuration of the model in {@code modelDir}. */
    public static ModelConfig read(Path modelDir) {
        requireFolder(modelDir);
        Path file = modelDir.resolve("config.json");
        if (!RegularFile.isNamed(file)) {
            String hint = Files.exists(modelDir.resolve("adapter_config.json"))
                    ? "; it holds an adapter: give the base model's folder as the model and this one as the adapter"
                    : "; give the folder of a Hugging Face model (config.json, model.safetensors, tokenizer.json)";
            throw new InputException(modelDir + " has no config.json" + hint);
        }
        JsonObject json = JsonObject.read(file);
        Path generation = modelDir.resolve("generation_config.json");
        return of(json, RegularFile.isNamed(generation) ? JsonObject.read(generation) : null);
    }

    /** @param generation generation_config.json, or null */
    static ModelConfig of(JsonObject json, JsonObject generation) {
        Architecture architecture = architecture(json);
        refuseUnsupported(json);

        int hidden = json.integer("hidden_size", 1, MAX_SIZE);
        int heads = json.integer("num_attention_heads", 1, MAX_SIZE);
        // Only Llama's configurations ever left these two out; transformers' defaults for the others belong to one size.
        int kvHeads = architecture == Architecture.LLAMA
                ? json.integer("num_key_value_heads", 1, heads, heads)
                : json.integer("num_key_value_heads", 1, heads);
        if (heads % kvHeads != 0) {
            throw json.fail("num_key_value_heads", "is " + kvHeads + ", which does not divide num_attention_heads "
                    + heads);
        }
        if (architecture != Architecture.QWEN3 && !json.has("head_dim") && hidden % heads != 0) {
            throw json.fail("num_attention_heads", "is " + heads + ", which does not divide hidden_size " + hidden
                    + ", and head_dim is absent");
        }
        int headDim = architecture == Architecture.QWEN3
                ? json.integer("head_dim", 2, MAX_SIZE)
                : json.integer("head_dim", 2, MAX_SIZE, hidden / heads);
        if (headDim % 2 != 0) {
            throw json.fail("head_dim", "is " + headDim + ", but rotary embedding needs an even number");
        }
        if ((long) heads * headDim > MAX_SIZE) {
            throw json.fail("num_attention_heads", "is " + heads + ": with head_dim " + headDim + " the heads have "
                    + (long) heads * headDim + " features, more than " + MAX_SIZE);
        }
        int layers = json.integer("num_hidden_layers", 1, MAX_LAYERS);
        int vocab = json.integer("vocab_size", 1, MAX_SIZE);
        boolean attentionBias = architecture != Architecture.MISTRAL && architecture != Architecture.QWEN2
                && json.flag("attention_bias", false);
        if (json.number("attention_dropout", 0) != 0) {
            LOG.log(Level.WARNING, json.file() + ": attention_dropout " + json.describe("attention_dropout")
                    + " is not applied in training");
        }
        return new ModelConfig(
                architecture,
                vocab,
                hidden,
                json.integer("intermediate_size", 1, MAX_SIZE),
                layers,
                heads,
                kvHeads,
                headDim,
                (float) json.positive("rms_norm_eps"),
                json.integer("max_position_embeddings", 1, Integer.MAX_VALUE),
                rope(json),
                json.flag("tie_word_embeddings", false),
                attentionBias || architecture == Architecture.QWEN2,
                attentionBias,
                architecture == Architecture.LLAMA && json.flag("mlp_bias", false),
                architecture == Architecture.QWEN3,
                windows(architecture, json, layers),
                eos(json, generation, vocab));
    }

    private static Architecture architecture(JsonObject json) {
        String type = json.string("model_type", null);
        List<String> classes = json.has("architectures") ? json.strings("architectures") : List.of();
        for (var a : Architecture.values()) {
            boolean typeFits = a.modelType().equals(type) || type == null && !classes.isEmpty();
            boolean classFits = classes.isEmpty() || classes.equals(List.of(a.className()));
            if (typeFits && classFits) {
                return a;
            }
        }
        throw new InputException(json.file() + ": architecture " + (classes.isEmpty() ? "" : classes + " ")
                + "(model_type " + (type == null ? "absent" : type) + ") is not supported; supported are "
                + Arrays.stream(Architecture.values())
                        .map(a -> a.className() + " (" + a.modelType() + ")")
                        .collect(Collectors.joining(", ")));
    }

    private static void refuseUnsupported(JsonObject json) {
        if (json.isSet("quantization_config")) {
            throw json.fail("quantization_config", "is set: quantised checkpoints are not supported; use the"
                    + " model's F32, F16 or BF16 checkpoint");
        }
        for (String key : List.of("num_local_experts", "num_experts", "n_routed_experts")) {
            if (json.isSet(key)) {
                throw json.fail(key, "is " + json.describe(key) + ": mixtures of experts are not supported");
            }
        }
        String act = json.string("hidden_act", "silu");
        if (!act.equals("silu")) {
            throw json.fail("hidden_act", "is " + act + ", which is not supported; supported is silu");
        }
        if (json.number("partial_rotary_factor", 1) != 1) {
            throw json.fail("partial_rotary_factor", "is " + json.describe("partial_rotary_factor")
                    + ": rotary embedding of a part of the head is not supported");
        }
    }

    /** rope_parameters, or the older rope_theta beside rope_scaling. */
    private static RopeConfig rope(JsonObject json) {
        JsonObject rope = json.object("rope_parameters").or(() -> json.object("rope_scaling")).orElse(json);
        double theta = rope.has("rope_theta") ? rope.positive("rope_theta")
                : json.has("rope_theta") ? json.positive("rope_theta") : 10_000;
        if (rope == json) {
            return RopeConfig.plain(theta);
        }
        if (rope.number("partial_rotary_factor", 1) != 1) {
            throw rope.fail("partial_rotary_factor", "is " + rope.describe("partial_rotary_factor")
                    + ": rotary embedding of a part of the head is not supported");
        }
        if (rope.isObject("full_attention") || rope.isObject("sliding_attention")) {
            throw new InputException(json.file() + ": rope_parameters that differ between layer types are not supported");
        }
        String type = rope.string("rope_type", rope.string("type", "default"));
        return switch (type) {
            case "default" -> RopeConfig.plain(theta);
            case "linear" -> new RopeConfig(RopeConfig.Scaling.LINEAR, theta, rope.positive("factor"), 1, 1, 1);
            case "llama3" -> {
                double low = rope.positive("low_freq_factor");
                double high = rope.positive("high_freq_factor");
                if (high <= low) {
                    throw rope.fail("high_freq_factor", "is " + high + ", but must be above low_freq_factor " + low);
                }
                yield new RopeConfig(RopeConfig.Scaling.LLAMA3, theta, rope.positive("factor"), low, high,
                        rope.positive("original_max_position_embeddings"));
            }
            default -> throw rope.fail(rope.has("rope_type") ? "rope_type" : "type",
                    "is " + type + ", which is not supported; supported are default, linear and llama3");
        };
    }

    private static List<Integer> windows(Architecture architecture, JsonObject json, int layers) {
        // transformers' default where the key is absent; null, which is different, says none.
        int absent = json.keys().contains("sliding_window") ? 0 : 4096;
        return switch (architecture) {
            case LLAMA -> uniform(layers, 0);
            case MISTRAL -> uniform(layers, json.integer("sliding_window", 1, Integer.MAX_VALUE, absent));
            case QWEN2, QWEN3 -> {
                int window = json.flag("use_sliding_window", false)
                        ? json.integer("sliding_window", 1, Integer.MAX_VALUE, absent) : 0;
                if (!json.has("layer_types")) {
                    int from = json.integer("max_window_layers", 0, Integer.MAX_VALUE, 28);
                    yield IntStream.range(0, layers).mapToObj(i -> i >= from ? window : 0).toList();
                }
                List<String> types = json.strings("layer_types");
                if (types.size() != layers) {
                    throw json.fail("layer_types", "has " + types.size() + " entries for num_hidden_layers " + layers);
                }
                yield types.stream().map(type -> switch (type) {
                    case "full_attention" -> 0;
                    case "sliding_attention" -> {
                        if (window == 0) {
                            throw json.fail("layer_types", "names sliding_attention, but use_sliding_window is off or"
                                    + " sliding_window is null");
                        }
                        yield window;
                    }
                    default -> throw json.fail("layer_types", "names " + type + ", which is not supported; supported"
                            + " are full_attention and sliding_attention");
                }).toList();
            }
        };
    }

    private static List<Integer> uniform(int layers, int window) {
        return IntStream.range(0, layers).mapToObj(i -> window).toList();
    }

    private static List<Integer> eos(JsonObject json, JsonObject generation, int vocab) {
        Set<Integer> ids = new LinkedHashSet<>();
        for (JsonObject source : generation == null ? List.of(json) : List.of(json, generation)) {
            Arrays.stream(source.integers("eos_token_id", 0, vocab - 1)).forEach(ids::add);
        }
        return List.copyOf(ids);
    }
}
