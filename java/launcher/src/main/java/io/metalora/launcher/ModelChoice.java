package io.metalora.launcher;

import io.metalora.model.LoadedModel;
import io.metalora.runtime.InputException;
import io.metalora.task.ReadOptions;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Options that choose a model and an adapter on it. */
final class ModelChoice {

    @Option(names = "--model", paramLabel = "DIR", required = true,
            description = "Folder of the base model, in Hugging Face form.")
    private Path model;

    @Option(names = "--adapter", paramLabel = "DIR",
            description = "Folder of an adapter, in PEFT's or HydraLoRA's form, such as RUN/adapter (default: the base model "
                    + "alone).")
    private Path adapter;

    @Mixin
    private DeviceChoice device;

    Path model() {
        return model;
    }

    /** The adapter's folder, or null. */
    Path adapter() {
        return adapter;
    }

    /** How examples for this model are read. */
    ReadOptions readOptions() {
        return ReadOptions.of(model);
    }

    /** Loads the model and the adapter, which comes into slot 0. */
    LoadedModel open() {
        if (adapter != null) {
            requireAdapter(adapter);
        }
        return LoadedModel.open(model, adapter == null ? List.of() : List.of(adapter), device.options());
    }

    /** Refuses a folder that is no adapter's, and names the adapter where it is a run's. */
    static void requireAdapter(Path folder) {
        if (Files.isDirectory(folder) && Files.notExists(folder.resolve("adapter_config.json"))) {
            Path inside = folder.resolve("adapter");
            throw new InputException(folder + ": holds no adapter_config.json, so it is no adapter in PEFT's or HydraLoRA's form"
                    + (Files.exists(inside.resolve("adapter_config.json")) ? "; this run's adapter is " + inside : ""));
        }
    }
}
