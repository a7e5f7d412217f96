package io.metalora.adapter;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.file.AtomicFile;
import io.metalora.file.Folders;
import io.metalora.file.JsonObject;
import io.metalora.file.Sha256;
import io.metalora.io.ModelConfig;
import io.metalora.io.Safetensors;
import io.metalora.runtime.DType;
import io.metalora.runtime.FileFailure;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.System.Logger.Level;
import java.lang.System.Logger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestInputStream;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;

/**
 * An adapter folder as PEFT writes it: adapter_config.json beside adapter_model.safetensors, with tensors named
 * {@code base_model.model.<module path>.lora_A.weight} [r, in] and {@code ...lora_B.weight} [out, r]. What PEFT only
 * warns about, and then computes wrongly, is refused here.
 */
final class PeftFolder implements AutoCloseable {
    static final String CONFIG = "adapter_config.json";
    static final String WEIGHTS = "adapter_model.safetensors";
    private static final String PREFIX = "base_model.model.";

    private static final Logger LOG = System.getLogger(PeftFolder.class.getName());

    /** Keys whose value, when set, changes what the adapter computes in a way that is not implemented. */
    private static final List<String> UNSUPPORTED = List.of(
            "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "exclude_modules", "layers_to_transform",
            "layers_pattern", "lora_bias", "trainable_token_indices", "target_parameters", "layer_replication",
            "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
            "megatron_config");

    /** Initialisations that change the frozen weights too: their adapters belong to a base that no file holds. */
    private static final List<String> CHANGES_BASE = List.of("pissa", "olora", "corda", "loftq", "lora_ga");

    /** Keys that are read, or that say nothing about what a trained adapter computes. */
    private static final Set<String> KNOWN = Set.of(
            "peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "bias",
            "init_lora_weights", "base_model_name_or_path", "inference_mode", "auto_mapping", "peft_version", "revision",
            "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
            "velora_config", "qalora_group_size", "runtime_config", "ensure_weight_tying");

    private final Safetensors weights;
    private final LoraLayout layout;

    private PeftFolder(Safetensors weights, LoraLayout layout) {
        this.weights = weights;
        this.layout = layout;
    }

    /** Opens an adapter for {@code model} and checks everything but the values. */
    static PeftFolder open(Path dir, ModelConfig model) {
        LoraLayout layout = layout(dir, model);
        Path file = dir.resolve(WEIGHTS);
        if (Files.notExists(file)) {
            String hint = Files.exists(dir.resolve("adapter_model.bin"))
                    ? "; adapter_model.bin is a Python pickle: save the adapter again with"
                            + " save_pretrained(..., safe_serialization=True)"
                    : "; the folder is incomplete: fetch or save the adapter again";
            throw new InputException(dir + " has no " + WEIGHTS + hint);
        }
        var weights = Safetensors.open(file);
        try {
            checkTensors(weights, layout, model);
            return new PeftFolder(weights, layout);
        } catch (RuntimeException | Error e) {
            weights.close();
            throw e;
        }
    }

    /** What the configuration asks for, in {@code model}. */
    static LoraLayout layout(Path dir, ModelConfig model) {
        LoraConfig config = readConfig(dir);
        try {
            return new LoraLayout(model, config, false);
        } catch (InputException e) {
            throw new InputException(dir.resolve(CONFIG) + ": " + e.getMessage(), e);
        }
    }

    LoraLayout layout() {
        return layout;
    }

    /** A [r, in], all values finite. */
    float[] a(LoraLayout.Site site) {
        return values(nameA(site));
    }

    /** B [out, r], all values finite. */
    float[] b(LoraLayout.Site site) {
        return values(nameB(site));
    }

    private float[] values(String name) {
        float[] values = weights.tensor(name).toFloats();
        for (int i = 0; i < values.length; i++) {
            if (!Float.isFinite(values[i])) {
                throw new InputException(weights.path() + ": tensor " + name + " holds " + values[i] + " at element " + i
                        + "; the adapter is damaged or its training diverged: use an earlier one");
            }
        }
        return values;
    }

    /** Refuses what was read where the file of the weights was written to meanwhile. */
    void requireUnchanged() {
        weights.requireUnchanged();
    }

    @Override
    public void close() {
        weights.close();
    }

    // ---- reading -----------------------------------------------------------------------------------------------

    static LoraConfig readConfig(Path dir) {
        Folders.require(dir, "a PEFT adapter (" + CONFIG + ", " + WEIGHTS + ")");
        if (Files.notExists(dir.resolve(CONFIG))) {
            String hint = Files.exists(dir.resolve("config.json"))
                    ? "; it holds a model: give it as the model, not as the adapter"
                    : "; give the folder of a PEFT adapter";
            throw new InputException(dir + " has no " + CONFIG + hint);
        }
        JsonObject json = JsonObject.read(dir.resolve(CONFIG));
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
        try {
            return new LoraConfig(rank, alpha, json.flag("use_rslora", false), (float) dropout, targets(json));
        } catch (InputException e) {
            throw e.getMessage().startsWith(json.file().toString())
                    ? e : new InputException(json.file() + ": " + e.getMessage(), e);
        }
    }

    /** Other tools write an adapter_config.json too, of another meaning. */
    private static void checkSchema(JsonObject json) {
        String type = json.string("peft_type", null);
        if (type == null) {
            String tool = json.has("lora_parameters") || json.has("fine_tune_type") ? " but MLX's"
                    : json.has("model_class") || json.has("hidden_size") && json.isObject("config")
                            ? " but AdapterHub's" : "";
            throw new InputException(json.file() + " is not PEFT's schema" + tool + ": peft_type is missing (keys: "
                    + new TreeSet<>(json.keys()) + "); convert the adapter to PEFT's format");
        }
        if (!type.equals("LORA")) {
            throw json.fail("peft_type", "is " + type + ", which is not supported; supported is LORA");
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

    static String digest(Path dir) {
        var sha = Sha256.digest();
        for (String name : List.of(CONFIG, WEIGHTS)) {
            Path file = dir.resolve(name);
            try (var in = new DigestInputStream(Files.newInputStream(file), sha)) {
                in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException e) {
                throw new InputException(file + " cannot be read: " + FileFailure.reason(e), e);
            }
        }
        return HexFormat.of().formatHex(sha.digest());
    }

    private static void checkTensors(Safetensors weights, LoraLayout layout, ModelConfig model) {
        Path file = weights.path();
        int rank = layout.config().rank();
        var expected = new HashMap<String, long[]>();
        for (var site : layout.sites()) {
            expected.put(nameA(site), new long[] {rank, site.in()});
            expected.put(nameB(site), new long[] {site.out(), rank});
        }
        // Tensors the model has no place for come first: they tell best what the file was made for.
        var extra = new TreeSet<>(weights.names());
        extra.removeAll(expected.keySet());
        if (!extra.isEmpty()) {
            String name = extra.first();
            throw new InputException(file + ": tensor " + name
                    + (extra.size() > 1 ? " (and " + (extra.size() - 1) + " more)" : "") + extraReason(name, model));
        }
        var missing = new TreeSet<>(expected.keySet());
        missing.removeAll(weights.names());
        if (!missing.isEmpty()) {
            throw new InputException(file + ": tensor " + missing.first()
                    + (missing.size() > 1 ? " (and " + (missing.size() - 1) + " more)" : "") + " is missing, though "
                    + CONFIG + " targets " + layout.config().targets() + "; the adapter is for another model of fewer"
                    + " layers, or incomplete");
        }
        for (var e : expected.entrySet()) {
            HostTensor t = weights.tensor(e.getKey());
            long[] shape = t.shape();
            boolean isA = e.getKey().endsWith(".lora_A.weight");
            if (!Arrays.equals(shape, e.getValue())) {
                boolean otherRank = shape.length == 2 && shape[isA ? 0 : 1] != rank
                        && shape[isA ? 1 : 0] == e.getValue()[isA ? 1 : 0];
                throw new InputException(file + ": tensor " + e.getKey() + " has shape " + Arrays.toString(shape)
                        + ", but " + Arrays.toString(e.getValue()) + " is needed; "
                        + (otherRank
                                ? "its rank is " + shape[isA ? 0 : 1] + ", but r in " + CONFIG + " is " + rank
                                : "the adapter is for another model"));
            }
            if (t.dtype() != DType.F32 && t.dtype() != DType.F16 && t.dtype() != DType.BF16) {
                throw new InputException(file + ": tensor " + e.getKey() + " is of type " + t.dtype()
                        + ", but must be F32, F16 or BF16");
            }
        }
    }

    private static String extraReason(String name, ModelConfig model) {
        if (!name.startsWith(PREFIX)) {
            return " does not begin with " + PREFIX + ", as PEFT's tensors do; save the adapter with PEFT's"
                    + " save_pretrained";
        }
        if (name.matches(".*\\.lora_[AB]\\.[^.]+\\.weight")) {
            return " carries an adapter name, which PEFT leaves out of files; save the adapter with PEFT's"
                    + " save_pretrained";
        }
        String path = name.substring(PREFIX.length());
        for (var p : Projection.values()) {
            var at = path.indexOf("." + p.module() + ".lora_");
            if (path.startsWith("model.layers.") && at > 0) {
                String layer = path.substring("model.layers.".length(), at);
                return layer.matches("\\d{1,9}") && Integer.parseInt(layer) >= model.layers()
                        ? " belongs to layer " + layer + ", but the model has layers 0 .. " + (model.layers() - 1)
                                + "; the adapter is for another model"
                        : " is none that " + CONFIG + "'s target_modules asks for; the two files are not of one adapter";
            }
        }
        return " has no place in the model; the adapter is for another model, or trained more than LoRA on the"
                + " projections of its layers";
    }

    // ---- writing -----------------------------------------------------------------------------------------------

    /**
     * Writes an adapter. A new folder appears whole, by one rename. In a folder that holds an adapter the two files are
     * replaced; where the configuration changes it is taken away first and written last, so that a folder is never
     * whole but mixed.
     *
     * @param values the values of a tensor, by its offset and length in the layout
     * @throws IllegalStateException if one is not finite; nothing is written then
     */
    static void write(Path dir, LoraLayout layout, String baseModel, Function<Slice, float[]> values) {
        checkTarget(dir);
        byte[] config = configJson(layout, baseModel);
        var tensors = new HashMap<String, HostTensor>();
        int rank = layout.config().rank();
        for (var site : layout.sites()) {
            var a = new Slice(site.offsetA(), rank, site.in());
            var b = new Slice(site.offsetB(), site.out(), rank);
            for (var tensor : List.of(HostTensor.of(nameA(site), values.apply(a), a.rows(), a.columns()),
                    HostTensor.of(nameB(site), values.apply(b), b.rows(), b.columns()))) {
                tensor.firstNotFinite().ifPresent(found -> {
                    throw new IllegalStateException("an adapter that is not finite is not written to " + dir + ": tensor "
                            + tensor.name() + " holds " + found);
                });
                tensors.put(tensor.name(), tensor);
            }
        }
        try {
            if (Files.exists(dir)) {
                replaceFiles(dir, config, tensors);
            } else {
                AtomicFile.createFolder(dir, folder -> {
                    Safetensors.write(folder.resolve(WEIGHTS), tensors, Map.of("format", "pt"));
                    AtomicFile.write(folder.resolve(CONFIG), config);
                });
            }
        } catch (IOException e) {
            throw AtomicFile.failed(dir, e);
        }
    }

    /** A matrix [rows, columns] at an offset of the flat vector. */
    record Slice(long offset, int rows, int columns) {}

    static void checkTarget(Path dir) {
        if (!Files.exists(dir)) {
            if (Files.isSymbolicLink(dir)) {
                throw new InputException(dir + " is a link that leads nowhere; remove it, or choose another folder for the adapter");
            }
            return;
        }
        if (!Files.isDirectory(dir)) {
            throw new InputException(dir + " is a file; choose a folder for the adapter");
        }
        if (Files.exists(dir.resolve(CONFIG))) {
            checkSchema(JsonObject.read(dir.resolve(CONFIG)));
            return;
        }
        try (var entries = Files.list(dir)) {
            // Without its configuration, the weights are what an interrupted save leaves, and what it had not renamed yet.
            var other = entries.filter(e -> AtomicFile.nameToBe(e).isEmpty()).map(e -> e.getFileName().toString())
                    .filter(n -> !n.equals(WEIGHTS)).sorted().findFirst();
            if (other.isPresent()) {
                throw new InputException(dir + " is not an adapter's folder (it holds " + other.get()
                        + "); choose another folder for the adapter");
            }
        } catch (IOException e) {
            throw new InputException(dir + " cannot be listed: " + FileFailure.reason(e), e);
        }
    }

    private static void replaceFiles(Path dir, byte[] config, Map<String, HostTensor> tensors) throws IOException {
        Path file = dir.resolve(CONFIG);
        boolean same = Files.exists(file) && Arrays.equals(Files.readAllBytes(file), config);
        if (!same) {
            Files.deleteIfExists(file);
        }
        Safetensors.write(dir.resolve(WEIGHTS), tensors, Map.of("format", "pt"));
        if (!same) {
            AtomicFile.write(file, config);
        }
    }

    private static byte[] configJson(LoraLayout layout, String baseModel) {
        var mapper = JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();
        LoraConfig c = layout.config();
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
        json.putNull("modules_to_save");
        json.put("peft_type", "LORA");
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

    private static String nameA(LoraLayout.Site site) {
        return PREFIX + site.path() + ".lora_A.weight";
    }

    private static String nameB(LoraLayout.Site site) {
        return PREFIX + site.path() + ".lora_B.weight";
    }
}
