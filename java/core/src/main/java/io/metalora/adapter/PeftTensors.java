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

    /** Of A [r, in]. */
    static String nameA(LoraLayout.Site site) {
        return PREFIX + site.path() + ".lora_A.weight";
    }

    /** Of B [out, r]. */
    static String nameB(LoraLayout.Site site) {
        return PREFIX + site.path() + ".lora_B.weight";
    }

    /** Opens the file in {@code dir}, whose tensors are not checked yet. */
    static Safetensors open(Path dir) {
        Path file = dir.resolve(FILE);
        if (Files.notExists(file)) {
            String hint = Files.exists(dir.resolve("adapter_model.bin"))
                    ? "; adapter_model.bin is a Python pickle: save the adapter again with"
                            + " save_pretrained(..., safe_serialization=True)"
                    : "; the folder is incomplete: fetch or save the adapter again";
            throw new InputException(dir + " has no " + FILE + hint);
        }
        return Safetensors.open(file);
    }

    /** Refuses with an InputException a file without exactly the layout's tensors, each of its shape and a type that is read. */
    static void check(Safetensors weights, LoraLayout layout, ModelConfig model) {
        Path file = weights.path();
        int rank = layout.config().rank();
        var expected = new HashMap<String, long[]>();
        for (var site : layout.sites()) {
            expected.put(nameA(site), new long[] {rank, site.in()});
            expected.put(nameB(site), new long[] {site.out(), rank});
        }
        // Tensors that the model has no place for come first: they show best what the file was made for.
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
                    + PeftConfig.FILE + " targets " + layout.config().targets() + "; the adapter is for another model of fewer"
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
                                ? "its rank is " + shape[isA ? 0 : 1] + ", but r in " + PeftConfig.FILE + " is " + rank
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
                        : " is none that " + PeftConfig.FILE + "'s target_modules asks for; the two files are not of one adapter";
            }
        }
        return " has no place in the model; the adapter is for another model, or trained more than LoRA on the"
                + " projections of its layers";
    }
}
