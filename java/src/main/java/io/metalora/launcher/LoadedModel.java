package io.metalora.launcher;

import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.Held;
import io.metalora.text.TextTokenizer;
import java.nio.file.Path;
import java.util.function.Function;

/**
 * A model ready for use, with its tokenizer and, if there is one, its adapter. Closes all it opened.
 *
 * @param folder the model's
 * @param slots the adapter in slot 0; null without one
 */
record LoadedModel(Path folder, Device device, TextTokenizer tokenizer, CausalLM model, LoraAdapter adapter, AdapterSlots slots)
        implements AutoCloseable {

    /** @param slots how many adapters like this one will go through a pass together */
    static LoadedModel open(Path modelFolder, Path adapterFolder, int slots, DeviceOptions options) {
        return open(modelFolder, adapterFolder, slots, options, TextTokenizer::load);
    }

    /** As above, with another way to load the tokenizer. */
    static LoadedModel open(Path modelFolder, Path adapterFolder, int slots, DeviceOptions options, Function<Path, TextTokenizer> tokenizers) {
        var held = new Held();
        Device device = held.add(() -> Device.open(options), Device::close);
        try {
            // The tokenizer first: it is small, and a folder without one is found out before the weights are read.
            TextTokenizer tokenizer = held.add(() -> tokenizers.apply(modelFolder), TextTokenizer::close);
            LoadOptions load = LoadOptions.defaults();
            if (adapterFolder != null) {
                load = load.withRoomFor(LoraAdapter.layout(adapterFolder, ModelConfig.read(modelFolder)).config(), slots);
            }
            CausalLM model = CausalLM.load(modelFolder, device, load);
            LoraAdapter adapter = adapterFolder == null ? null : LoraAdapter.load(adapterFolder, model.config(), device);
            return new LoadedModel(modelFolder, device, tokenizer, model, adapter, adapter == null ? null : AdapterSlots.of(adapter));
        } catch (RuntimeException | Error e) {
            held.closeAfter(e);
            throw e;
        }
    }

    /** Loads an adapter for the model; the caller closes it. */
    LoraAdapter adapter(Path adapterFolder) {
        return LoraAdapter.load(adapterFolder, model.config(), device);
    }

    @Override
    public void close() {
        try (device; tokenizer) {
            // Both, also where one fails; the device frees what was loaded.
        }
    }
}
