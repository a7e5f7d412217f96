package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.DType;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.TreeSet;

/** The tensors of adapter_model.safetensors: their names, and whether those of a file are the ones that a layout needs. */
final class PeftTensors {
    static final String FILE = "adapter_model.safetensors";
    private static final String PREFIX = "base_model.model.";

    private PeftTensors() {}

    static String name(AdapterLayout.Site site, AdapterMatrix matrix) {
        return PREFIX + site.path() + "." + matrix.name() + ".weight";
    }

    /** Opens the file in {@code dir}, whose tensors are not checked yet. */
    static Safetensors open(Path dir) {
        Path file = dir.resolve(FILE);
        if (Files.notExists(file)) {
            String hint = Files.exists(dir.resolve("adapter_model.bin"))
                    ? "; adapter_model.bin is a Python pickle: save the adapter again with"
                            + " save_pretrained(..., safe_serialization=True) or, as HydraLoRA has no such option, convert it:"
                            + " safetensors.torch.save_file(torch.load(\"adapter_model.bin\", map_location=\"cpu\"), \""
                            + FILE + "\")"
                    : "; the folder is incomplete: fetch or save the adapter again";
            throw new InputException(dir + " has no " + FILE + hint);
        }
        return Safetensors.open(file);
    }

    /** Refuses with an InputException a file without exactly the layout's tensors, each of its shape and a type that is read. */
    static void check(Safetensors weights, AdapterLayout layout, ModelConfig model) {
        Path file = weights.path();
        var expected = new HashMap<String, long[]>();
        for (var site : layout.sites()) {
            for (var matrix : site.matrices()) {
                expected.put(name(site, matrix), new long[] {matrix.rows(), matrix.columns()});
            }
        }
        // Tensors that the model has no place for come first: they show best what the file was made for.
        var extra = new TreeSet<>(weights.names());
        extra.removeAll(expected.keySet());
        if (!extra.isEmpty()) {
            String name = extra.first();
            throw new InputException(file + ": tensor " + name
                    + (extra.size() > 1 ? " (and " + (extra.size() - 1) + " more)" : "") + extraReason(name, layout, model));
        }
        var missing = new TreeSet<>(expected.keySet());
        missing.removeAll(weights.names());
        if (!missing.isEmpty()) {
            throw new InputException(file + ": tensor " + missing.first()
                    + (missing.size() > 1 ? " (and " + (missing.size() - 1) + " more)" : "") + " is missing, though "
                    + PeftConfig.FILE + " targets " + layout.config().targets() + heads(layout, " with ") + "; the adapter is for"
                    + " another model of fewer layers, or incomplete");
        }
        for (var e : expected.entrySet()) {
            HostTensor t = weights.tensor(e.getKey());
            long[] shape = t.shape();
            if (!Arrays.equals(shape, e.getValue())) {
                throw new InputException(file + ": tensor " + e.getKey() + " has shape " + Arrays.toString(shape) + ", but "
                        + Arrays.toString(e.getValue()) + " is needed; " + shapeReason(e.getKey(), shape, e.getValue()));
            }
            if (t.dtype() != DType.F32 && t.dtype() != DType.F16 && t.dtype() != DType.BF16) {
                throw new InputException(file + ": tensor " + e.getKey() + " is of type " + t.dtype()
                        + ", but must be F32, F16 or BF16");
            }
        }
    }

    /** lora_nums of a mixture, as its configuration has it; nothing for LoRA. */
    private static String heads(AdapterLayout layout, String before) {
        return switch (layout) {
            case LoraLayout lora -> "";
            case MixtureLayout mixture -> before + PeftConfig.HEADS + " " + mixture.heads();
        };
    }

    private static String shapeReason(String name, long[] shape, long[] needed) {
        boolean router = name.endsWith(".lora_route.weight");
        int own = router || name.endsWith(".lora_A.weight") ? 0 : 1; // the axis whose length the configuration says
        return shape.length == 2 && shape[own] != needed[own] && shape[1 - own] == needed[1 - own]
                ? "its " + (router ? "heads are " : "rank is ") + shape[own] + ", but " + (router ? PeftConfig.HEADS : "r")
                        + " in " + PeftConfig.FILE + " is " + needed[own]
                : "the adapter is for another model";
    }

    /** What a tensor says that another kind of adapter has, or a mixture of more heads; null where it is of neither. */
    private static String otherKind(String name, AdapterLayout layout) {
        boolean ofMixture = name.matches(".*\\.lora_(B\\d+|route)\\.weight");
        return switch (layout) {
            case LoraLayout lora -> !ofMixture ? null : " is of a mixture, but " + PeftConfig.FILE + " has no " + PeftConfig.HEADS
                    + ", which a mixture's says: HydraLoRA writes it; the two files are not of one adapter";
            case MixtureLayout mixture -> !ofMixture && !name.endsWith(".lora_B.weight") ? null
                    : " is none of" + heads(mixture, " a mixture with ") + ", as "
                            + PeftConfig.FILE + " has it; the two files are not of one adapter";
        };
    }

    private static String extraReason(String name, AdapterLayout layout, ModelConfig model) {
        if (!name.startsWith(PREFIX)) {
            return " does not begin with " + PREFIX + ", as PEFT's tensors do; save the adapter with PEFT's"
                    + " save_pretrained";
        }
        if (name.matches(".*\\.lora_[AB]\\.[^.]+\\.weight")) {
            return " carries an adapter name, which PEFT leaves out of files; save the adapter with PEFT's"
                    + " save_pretrained";
        }
        String path = name.substring(PREFIX.length());
        boolean onSite = layout.sites().stream().anyMatch(site -> path.startsWith(site.path() + ".lora_"));
        String other = onSite ? otherKind(name, layout) : null;
        if (other != null) {
            return other;
        }
        for (var p : Projection.values()) {
            var at = path.indexOf("." + p.module() + ".lora_");
            if (path.startsWith("model.layers.") && at > 0) {
                String layer = path.substring("model.layers.".length(), at);
                return layer.matches("\\d{1,9}") && Integer.parseInt(layer) >= model.layers()
                        ? " belongs to layer " + layer + ", but the model has layers 0 .. " + (model.layers() - 1)
                                + "; the adapter is for another model"
                        : " is none that " + PeftConfig.FILE + "'s target_modules asks for; the two files are not of one adapter";
            }
        }
        return " has no place in the model; the adapter is for another model, or trained more than LoRA on the"
                + " projections of its layers";
    }
}
