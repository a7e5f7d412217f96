package io.metalora.adapter;

import io.metalora.file.RegularFile;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.runtime.InputException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Writes an adapter in the forms that other programs run it in. It reads files alone and needs no device. */
public final class AdapterExport {

    private AdapterExport() {}

    /**
     * Writes a LoRA adapter as a GGUF file, F32, for llama.cpp and what is built on it.
     *
     * @param adapterDir in PEFT's form
     * @param modelDir   of the base model, whose config.json alone is read
     * @param file       the file to write, which must not exist; its name, without .gguf, is the adapter's in the file
     * @return what was written
     * @throws InputException       if the adapter is a mixture, can't be read or is of another model, or the file exists
     * @throws UncheckedIOException if it can't be written
     */
    public static AdapterLayout gguf(Path adapterDir, Path modelDir, Path file) {
        requireAbsent(file);
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            throw new InputException(file + ": its folder doesn't exist; make it first");
        }
        ModelConfig model = ModelConfig.read(modelDir);
        try (var reader = AdapterFormat.PEFT.open(adapterDir, model)) {
            LoraLayout layout = lora(reader.layout(), adapterDir, "a GGUF adapter has no place for");
            GgufLora.write(file, layout, model, values(reader));
            return layout;
        }
    }

    /**
     * Writes the base model with a LoRA adapter merged into its weights, W + scale B A, computed in fp32 and rounded once to the
     * type of W: as PEFT's merge_and_unload does. Files of the weights are those of the base, and what belongs to a model is
     * copied (configuration, tokenizer, chat template, licence). The folder appears whole or not at all; while it is written,
     * memory holds the adapter and a row.
     *
     * @param dir the folder to write, which must not exist
     * @return what was merged
     * @throws InputException       if the adapter is a mixture, can't be read or is of another model, {@code dir} exists, the disk
     *                              has too little room, or a weight would leave the range of its type
     * @throws UncheckedIOException if it can't be written
     */
    public static AdapterLayout merged(Path adapterDir, Path modelDir, Path dir) {
        requireAbsent(dir);
        ModelConfig model = ModelConfig.read(modelDir);
        try (var reader = AdapterFormat.PEFT.open(adapterDir, model); var weights = ModelFiles.open(modelDir)) {
            LoraLayout layout = lora(reader.layout(), adapterDir, "no weights of the base model could have");
            new MergedCheckpoint(modelDir, weights, layout, values(reader)).write(dir);
            return layout;
        }
    }

    private static void requireAbsent(Path target) {
        if (RegularFile.isNamed(target)) {
            throw new InputException(target + ": already exists, and nothing was written over it; give another --output or remove it");
        }
    }

    private static LoraLayout lora(AdapterLayout layout, Path adapterDir, String obstacle) {
        return switch (layout) {
            case LoraLayout lora -> lora;
            case MixtureLayout mixture -> throw new InputException(adapterDir + " is a mixture of " + mixture.heads()
                    + " heads, whose router weighs them anew for every token: " + obstacle + " that. 'metalora eval --even-heads' measures"
                    + " what it answers without its router, in one B; for export, train LoRA (adapter.kind: lora)");
        };
    }

    /** All of them, read at once: adapters are small beside the model. */
    private static AdapterFormat.Values values(AdapterFormat.Reader reader) {
        var all = new float[Math.toIntExact(reader.layout().parameters())];
        reader.read((values, offset) -> System.arraycopy(values, 0, all, Math.toIntExact(offset), values.length));
        return (offset, count) -> Arrays.copyOfRange(all, Math.toIntExact(offset), Math.toIntExact(offset + count));
    }
}
