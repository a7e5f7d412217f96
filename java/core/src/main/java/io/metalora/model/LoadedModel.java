package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.Held;
import io.metalora.text.TextTokenizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A model ready for use: its device, its tokenizer and, where there are any, adapters on it. */
public final class LoadedModel implements AutoCloseable {
    private final Held held = new Held();
    private final Path folder;
    private final Device device;
    private final TextTokenizer tokenizer;
    private final CausalLM model;
    private final AdapterSlots slots; // null: no adapters

    private LoadedModel(Path folder, List<Path> adapters, DeviceOptions options) {
        this.folder = folder;
        device = held.add(() -> Device.open(options), Device::close);
        // The tokenizer first: it is small, and a folder without one is noticed before the weights are read.
        tokenizer = held.add(() -> TextTokenizer.load(folder), TextTokenizer::close);
        var layout = held.orClose(() -> layout(folder, adapters));
        var load = layout.map(l -> LoadOptions.defaults().withRoomFor(l, adapters.size())).orElseGet(LoadOptions::defaults);
        model = held.add(() -> CausalLM.load(folder, device, load), CausalLM::close);
        slots = layout.isEmpty() ? null : held.add(() -> slots(layout.get(), adapters), AdapterSlots::close);
    }

    private LoadedModel(Path folder, Device device, TextTokenizer tokenizer, LoadOptions options) {
        this.folder = folder;
        this.device = device;
        this.tokenizer = tokenizer;
        model = held.add(() -> CausalLM.load(folder, device, options), CausalLM::close);
        slots = null;
    }

    /**
     * Opens the device and loads the Hugging Face model in {@code folder}, with its tokenizer, without adapters.
     *
     * @throws InputException if a file is missing or can't be used, the device is not there, or memory does not suffice
     */
    public static LoadedModel open(Path folder, DeviceOptions device) {
        return open(folder, List.of(), device);
    }

    /**
     * The same with adapters.
     *
     * @param adapters folders in PEFT's form; the first comes into slot 0
     * @throws InputException also if the adapters have not all the same kind, rank, scale and Linears
     */
    public static LoadedModel open(Path folder, List<Path> adapters, DeviceOptions device) {
        return new LoadedModel(folder, List.copyOf(adapters), device);
    }

    /**
     * Loads the weights for a device and a tokenizer that are open already, for callers that must check something against both
     * first. Both stay the caller's: closing the model leaves them open.
     *
     * @param tokenizer that of the model in {@code folder}
     * @throws InputException if a file of the weights is missing or can't be used, or memory does not suffice
     */
    public static LoadedModel load(Path folder, Device device, TextTokenizer tokenizer, LoadOptions options) {
        return new LoadedModel(folder, device, tokenizer, options);
    }

    /** The layout of all adapters; those that cannot be used are refused before the weights are read. */
    private static Optional<AdapterLayout> layout(Path folder, List<Path> adapters) {
        if (adapters.isEmpty()) {
            return Optional.empty();
        }
        var config = ModelConfig.read(folder);
        var first = LoraAdapter.layout(adapters.getFirst(), config);
        for (var adapter : adapters.subList(1, adapters.size())) {
            AdapterSlots.requireAlike(first, adapters.getFirst().toString(), LoraAdapter.layout(adapter, config), adapter.toString());
        }
        return Optional.of(first);
    }

    private AdapterSlots slots(AdapterLayout layout, List<Path> adapters) {
        long bytes = MemoryEstimate.product(2L * adapters.size() + 1, layout.parameters(), DType.F32.bytes()); // two copies, and zeros
        new MemoryEstimate(0, 0, bytes).requireFits(device, "Loading the adapters", "load fewer at once, or free memory");
        var loaded = new ArrayList<LoraAdapter>();
        try {
            adapters.forEach(adapter -> loaded.add(loadAdapter(adapter)));
            return AdapterSlots.of(loaded);
        } finally {
            Held.closeAll(loaded, LoraAdapter::close);
        }
    }

    /** Loads one more adapter for the model, apart from {@link #slots}; the caller closes it. */
    public LoraAdapter loadAdapter(Path adapterFolder) {
        return LoraAdapter.load(adapterFolder, model.config(), device);
    }

    /** The model's. */
    public Path folder() {
        return folder;
    }

    public Device device() {
        return device;
    }

    public TextTokenizer tokenizer() {
        return tokenizer;
    }

    public CausalLM model() {
        return model;
    }

    /** The adapters it was opened with, in their order, and {@link AdapterSlots#BASE}; null where there are none. */
    public AdapterSlots slots() {
        return slots;
    }

    /** Closes everything that it opened itself, even if closing a part fails. */
    @Override
    public void close() {
        held.close();
    }
}
