package io.metalora.adapter;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.file.Folders;
import io.metalora.file.JsonObject;
import io.metalora.runtime.InputException;
import java.lang.System.Logger.Level;
import java.lang.System.Logger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeSet;

/**
 * What adapter_config.json says. What would change the result of the adapter in a way that is not implemented is refused, though
 * PEFT itself may only warn of it.
 *
 * @param heads of a mixture; empty for LoRA
 */
record PeftConfig(LoraConfig lora, OptionalInt heads) {
    static final String FILE = "adapter_config.json";

    /** The number of heads. HydraLoRA writes it beside LoRA's peft_type: with it the adapter is a mixture, also of one head. */
    static final String HEADS = "lora_nums";

    /** The peft_type of mixtures written here. PEFT knows none of it: as LORA it would load A alone and compute without B. */
    private static final String MIXTURE = "METALORA_MIXTURE";

    private static final Logger LOG = System.getLogger(PeftConfig.class.getName());

    /** Keys whose value, when set, changes what the adapter computes in a way that is not implemented. */
    private static final List<String> UNSUPPORTED = List.of(
            "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "exclude_modules", "layers_to_transform",
            "layers_pattern", "lora_bias", "trainable_token_indices", "target_parameters", "layer_replication",
            "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
            "megatron_config", "enable_lora");

    /** Initialisations that change the frozen weights too: their adapters belong to a base that no file holds. */
    private static final List<String> CHANGES_BASE = List.of("pissa", "olora", "corda", "loftq", "lora_ga");

    /** Keys that are read, or that say nothing about what a trained adapter computes. */
    private static final Set<String> KNOWN = Set.of(
            "peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "bias",
            "init_lora_weights", "base_model_name_or_path", "inference_mode", "auto_mapping", "peft_version", "revision",
            "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
            "velora_config", "qalora_group_size", "runtime_config", "ensure_weight_tying", HEADS, "merge_weights");

    /** Reads the file in {@code dir}; an InputException says why it can't be used. */
    static PeftConfig read(Path dir) {
        Folders.require(dir, "an adapter (" + FILE + ", " + PeftTensors.FILE + ")");
        if (Files.notExists(dir.resolve(FILE))) {
            String hint = Files.exists(dir.resolve("config.json"))
                    ? "; it holds a model: give it as the model, not as the adapter"
                    : Files.exists(dir.resolve("adapter").resolve(FILE)) ? "; this run's adapter is " + dir.resolve("adapter")
                    : "; give the folder of an adapter in PEFT's or HydraLoRA's form";
            throw new InputException(dir + " has no " + FILE + hint);
        }
        JsonObject json = JsonObject.read(dir.resolve(FILE));
        checkSchema(json);
        for (String key : UNSUPPORTED) {
            if (json.isSet(key) || key.equals("layers_to_transform") && json.has(key)) {
                throw json.fail(key, "is " + json.describe(key) + ", which is not supported; supported are plain LoRA"
                        + " adapters of one rank and one alpha");
            }
        }
        if (!json.string("bias", "none").equals("none")) {
            throw json.fail("bias", "is " + json.describe("bias") + ": trained biases are not supported; supported is"
                    + " \"none\"");
        }
        String init = json.isString("init_lora_weights") ? json.string("init_lora_weights") : "";
        if (CHANGES_BASE.stream().anyMatch(init::startsWith)) {
            throw json.fail("init_lora_weights", "is " + init + ", which changes the base model's weights; convert the"
                    + " adapter to plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=...)");
        }
        var unknown = new TreeSet<>(json.keys());
        unknown.removeAll(KNOWN);
        unknown.removeAll(UNSUPPORTED);
        if (!unknown.isEmpty()) {
            LOG.log(Level.WARNING, json.file() + ": unknown keys are ignored: " + unknown);
        }
        int rank = json.integer("r", 1, LoraConfig.MAX_RANK);
        float alpha = (float) json.positive("lora_alpha");
        double dropout = json.number("lora_dropout", 0);
        boolean mixture = json.has(HEADS) || json.string("peft_type").equals(MIXTURE);
        int heads = mixture ? json.integer(HEADS, 1, MixtureLayout.MAX_COLUMNS) : 0;
        try {
            var lora = new LoraConfig(rank, alpha, json.flag("use_rslora", false), (float) dropout, targets(json));
            return new PeftConfig(lora, mixture ? OptionalInt.of(heads) : OptionalInt.empty());
        } catch (InputException e) {
            throw e.getMessage().startsWith(json.file().toString())
                    ? e : new InputException(json.file() + ": " + e.getMessage(), e);
        }
    }

    /** Other tools write an adapter_config.json too, of another meaning. */
    static void checkSchema(JsonObject json) {
        String type = json.string("peft_type", null);
        if (type == null) {
            String tool = json.has("lora_parameters") || json.has("fine_tune_type") ? " but MLX's"
                    : json.has("model_class") || json.has("hidden_size") && json.isObject("config")
                            ? " but AdapterHub's" : "";
            throw new InputException(json.file() + " is not PEFT's schema" + tool + ": peft_type is missing (keys: "
                    + new TreeSet<>(json.keys()) + "); convert the adapter to PEFT's format");
        }
        if (!type.equals("LORA") && !type.equals(MIXTURE)) {
            throw json.fail("peft_type", "is " + type + ", which is not supported; supported is LORA, or " + MIXTURE
                    + " as written here");
        }
        String task = json.string("task_type", "CAUSAL_LM");
        if (!task.equals("CAUSAL_LM")) {
            throw json.fail("task_type", "is " + task + ", which is not supported; supported is CAUSAL_LM");
        }
    }

    private static TargetModules targets(JsonObject json) {
        return json.isString("target_modules")
                ? TargetModules.ofString(json.string("target_modules"))
                : TargetModules.of(json.strings("target_modules"));
    }

    /**
     * The file's content, with a line end.
     *
     * @param baseModel where PEFT finds the base model; null when unknown
     */
    static byte[] json(AdapterLayout layout, String baseModel) {
        LoraConfig c = layout.config();
        var mapper = JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();
        ObjectNode json = mapper.createObjectNode();
        json.putObject("alpha_pattern");
        json.put("base_model_name_or_path", baseModel);
        json.put("bias", "none");
        json.put("fan_in_fan_out", false);
        json.put("inference_mode", true);
        json.put("init_lora_weights", true);
        if (c.alpha() == Math.rint(c.alpha())) {
            json.put("lora_alpha", (long) c.alpha());
        } else {
            json.put("lora_alpha", c.alpha());
        }
        json.put("lora_dropout", c.dropout());
        if (layout instanceof MixtureLayout mixture) {
            json.put(HEADS, mixture.heads());
        }
        json.putNull("modules_to_save");
        json.put("peft_type", switch (layout) {
            case LoraLayout lora -> "LORA";
            case MixtureLayout mixture -> MIXTURE;
        });
        json.put("r", c.rank());
        json.putObject("rank_pattern");
        switch (c.targets()) {
            case TargetModules.Regex regex -> json.put("target_modules", regex.expression());
            case TargetModules.Names names -> {
                var list = json.putArray("target_modules");
                names.names().forEach(list::add);
            }
            case TargetModules.AllLinear all -> {
                var list = json.putArray("target_modules"); // as PEFT expands it: not all readers know the word
                Arrays.stream(Projection.values()).map(Projection::leaf).sorted().forEach(list::add);
            }
        }
        json.put("task_type", "CAUSAL_LM");
        json.put("use_dora", false);
        json.put("use_rslora", c.rslora());
        try {
            return (mapper.writeValueAsString(json) + "\n").getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
