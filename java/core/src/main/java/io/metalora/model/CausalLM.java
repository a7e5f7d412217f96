package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.Projection;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.model.pass.PassAccess;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.NotFiniteException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.DeviceAccess;
import io.metalora.runtime.op.RmsNorm;
import io.metalora.runtime.op.RopeScaling;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A decoder-only language model of the Llama family (Llama, SmolLM2, Mistral, Qwen2, Qwen3): frozen weights on a
 * device. It holds no activations; training, evaluation and {@link Generator} bring their own, and several of them may
 * share one model as long as they take turns.
 */
public final class CausalLM implements AutoCloseable {
    static {
        PassAccess.give(new ModelPassAccess());
    }

    private final Path folder;
    private final ModelConfig config;
    private final Device device;
    private final LoadOptions options;
    private final Held held = new Held();
    private final ModelShape shape;
    private final List<LayerWeights> layers = new ArrayList<>();
    private final FrozenWeight embedding;
    private final FrozenWeight head;
    private final RmsNorm finalNorm;

    private CausalLM(Path folder, ModelConfig config, Device device, ModelFiles files, LoadOptions options) {
        this.folder = folder;
        this.config = config;
        this.device = device;
        this.options = options;
        this.shape = ModelShape.of(config, device, options);
        try {
            var shapes = WeightNames.shapes(config);
            var loader = new Loader(files, shapes);
            embedding = loader.matrix(WeightNames.EMBEDDING);
            for (int i = 0; i < config.layers(); i++) {
                layers.add(loader.layer(i));
            }
            finalNorm = loader.norm(WeightNames.FINAL_NORM, config.hiddenSize());
            head = config.tiedEmbeddings() ? embedding : loader.matrix(WeightNames.HEAD);
            files.requireUnchanged();
        } catch (RuntimeException | Error e) {
            held.closeAfter(e);
            throw e;
        }
    }

    /**
     * Loads the Hugging Face model in {@code modelDir}. Every tensor's presence, type and shape and the memory needed are checked
     * before anything is loaded; if anything is wrong, an InputException says what. The files are closed on return.
     */
    public static CausalLM load(Path modelDir, Device device, LoadOptions options) {
        var config = ModelConfig.read(modelDir);
        try (var files = ModelFiles.open(modelDir)) {
            estimate(config, files, device, options)
                    .requireFits(
                            device,
                            "Loading " + modelDir,
                            "choose a smaller model, hold the weights as bf16, or free memory");
            return new CausalLM(modelDir.toAbsolutePath(), config, device, files, options);
        }
    }

    /** What {@link #load} would hold, from the headers of the files alone. */
    public static MemoryEstimate estimate(Path modelDir, Device device, LoadOptions options) {
        var config = ModelConfig.read(modelDir);
        try (var files = ModelFiles.open(modelDir)) {
            return estimate(config, files, device, options);
        }
    }

    private static MemoryEstimate estimate(
            ModelConfig config, ModelFiles files, Device device, LoadOptions options) {
        var shapes = WeightNames.shapes(config);
        long bytes = 0;
        for (var entry : shapes.entrySet()) {
            var shape = entry.getValue();
            files.tensor(entry.getKey(), shape); // reports the first that is missing or wrong
            if (shape.length == 1) {
                bytes = MemoryEstimate.sum(bytes, shape[0] * DType.F32.bytes());
            }
        }
        for (var names : WeightNames.matrices(config, LinearGroup.of(device))) {
            var sources = names.stream().map(name -> files.tensor(name, shapes.get(name))).toList();
            long out = sources.stream().mapToLong(source -> source.shape()[0]).sum();
            bytes = MemoryEstimate.sum(bytes, DeviceAccess.get().frozenBytes(device,
                    storageOf(sources, options.storage(), device), out, sources.getFirst().shape()[1],
                    adapterColumns(names, options)));
        }
        return new MemoryEstimate(bytes, 0, 0);
    }

    /** Room beside the Linears of these names, held as one weight; embedding and head have no adapters. */
    private static long adapterColumns(List<String> names, LoadOptions options) {
        return WeightNames.isOfLayer(names.getFirst()) ? (long) options.adapterColumns() * names.size() : 0;
    }

    /** A stack is held as its widest member would be. */
    private static DType storageOf(List<HostTensor> sources, WeightStorage storage, Device device) {
        return sources.stream().allMatch(source -> storageOf(source, storage, device) == DType.BF16) ? DType.BF16 : DType.F32;
    }

    private static DType storageOf(HostTensor source, WeightStorage storage, Device device) {
        return switch (storage) {
            case F32 -> DType.F32;
            case BF16 -> DType.BF16;
            case AUTO -> source.dtype() == DType.BF16 || device.multipliesInBf16() ? DType.BF16 : DType.F32;
        };
    }

    public ModelConfig config() {
        return config;
    }

    public Device device() {
        return device;
    }

    /** What it was loaded with. */
    public LoadOptions options() {
        return options;
    }

    /** Whether products with adapters in {@code slots} slots can use their fastest form, with a K-tail. */
    public boolean hasRoomFor(AdapterLayout adapter, int slots) {
        return !DeviceAccess.get().gainsByAdapterRoom(device) || options.hasRoomFor(adapter, slots);
    }

    /** Its layout on the device. */
    ModelShape shape() {
        return shape;
    }

    LayerWeights layer(int i) {
        return layers.get(i);
    }

    /** [vocab, hidden] */
    FrozenWeight embedding() {
        return embedding;
    }

    /** The output head [vocab, hidden]; the embedding itself where they are tied. */
    FrozenWeight head() {
        return head;
    }

    RmsNorm finalNorm() {
        return finalNorm;
    }

    RopeScaling ropeScaling() {
        var rope = config.rope();
        return switch (rope.scaling()) {
            case PLAIN -> new RopeScaling.None();
            case LINEAR -> new RopeScaling.Linear(rope.factor());
            case LLAMA3 -> new RopeScaling.Llama3(
                    rope.factor(), rope.lowFreqFactor(), rope.highFreqFactor(), rope.originalMaxPositions());
        };
    }

    /**
     * The exception to throw for a result that is not finite: it says whether an adapter or the model itself has a value that is
     * not, and which.
     *
     * @param adapters those in use; null for the base model
     */
    public InputException notFinite(AdapterSlots adapters) {
        var inAdapter = adapters == null ? Optional.<String>empty() : adapters.firstNotFinite();
        if (inAdapter.isPresent()) {
            return new NotFiniteException("the adapter is damaged, or its training diverged: " + inAdapter.get()
                    + "; use an earlier one");
        }
        String weights = ", though its weights are finite";
        try {
            var inWeights = notFiniteWeight();
            if (inWeights.isPresent()) {
                return inWeights.get();
            }
        } catch (InputException | UncheckedIOException e) {
            weights = " (whether its weights are finite can no longer be checked: " + e.getMessage() + ")";
        }
        return new NotFiniteException("the model in " + folder + " computes NaN or infinity" + weights
                + (adapters == null ? "; its config.json or its weights are damaged: fetch the model again"
                        : "; the adapter's values are too large: use an earlier one, or train at a lower rate"));
    }

    /** The same for adapters that have not been trained yet. */
    public InputException notFiniteUntrained() {
        return notFiniteWeight().orElseGet(() -> new NotFiniteException("the model in " + folder + " computes NaN or infinity before "
                + "anything is learned, though its weights are finite: its config.json or its weights are damaged: fetch it again; or the adapter "
                + "that training begins from holds values that are too large, or none: use an earlier one"));
    }

    /**
     * Checks every value in the files of the weights, which takes as long as loading them.
     *
     * @throws InputException if a value is a NaN or an infinity, naming file, tensor and element; nothing where the files can't
     *                        be read any more
     */
    public void requireFiniteWeights() {
        Optional<InputException> found;
        try {
            found = notFiniteWeight();
        } catch (InputException | UncheckedIOException e) {
            return; // the files are gone: what they held can't be checked
        }
        if (found.isPresent()) {
            throw found.get();
        }
    }

    private Optional<InputException> notFiniteWeight() {
        try (var files = ModelFiles.open(folder)) {
            for (var entry : WeightNames.shapes(config).entrySet()) {
                var found = files.tensor(entry.getKey(), entry.getValue()).firstNotFinite();
                if (found.isPresent()) {
                    return Optional.of(new InputException(files.file(entry.getKey()) + ": tensor " + entry.getKey() + " holds "
                            + found.get() + "; the model is damaged: fetch it again"));
                }
            }
        }
        return Optional.empty();
    }

    @Override
    public void close() {
        held.close();
    }

    /** Loads tensors from files onto the device; the model owns them. */
    private final class Loader {
        private final ModelFiles files;
        private final Map<String, long[]> shapes;

        Loader(ModelFiles files, Map<String, long[]> shapes) {
            this.files = files;
            this.shapes = shapes;
        }

        LayerWeights layer(int i) {
            var weights = new EnumMap<Projection, FrozenWeight>(Projection.class);
            var biases = new EnumMap<Projection, Tensor>(Projection.class);
            for (var group : shape.groups()) {
                weights.put(group.first(), matrix(WeightNames.weights(i, group)));
                var names = WeightNames.biases(config, i, group);
                if (!names.isEmpty()) {
                    biases.put(group.first(), vector(names));
                }
            }
            return new LayerWeights(
                    weights,
                    biases,
                    norm(WeightNames.inputNorm(i), config.hiddenSize()),
                    norm(WeightNames.postAttentionNorm(i), config.hiddenSize()),
                    config.qkNorm() ? norm(WeightNames.queryNorm(i), config.headDim()) : null,
                    config.qkNorm() ? norm(WeightNames.keyNorm(i), config.headDim()) : null);
        }

        FrozenWeight matrix(String name) {
            return matrix(List.of(name));
        }

        FrozenWeight matrix(List<String> names) {
            var sources = names.stream().map(name -> files.tensor(name, shapes.get(name))).toList();
            return held.add(
                    () -> DeviceAccess.get().freeze(device, sources, storageOf(sources, options.storage(), device), adapterColumns(names, options)),
                    FrozenWeight::close);
        }

        RmsNorm norm(String name, int width) {
            return new RmsNorm(vector(List.of(name)), width, config.rmsNormEps());
        }

        Tensor vector(List<String> names) {
            var sources = names.stream().map(name -> files.tensor(name, shapes.get(name))).toList();
            long length = sources.stream().mapToLong(source -> source.shape()[0]).sum();
            var tensor = held.add(() -> device.zeros(DType.F32, length), Tensor::close);
            long at = 0;
            for (var source : sources) {
                tensor.view(at, source.shape()).upload(source.toFloats());
                at += source.shape()[0];
            }
            return tensor;
        }
    }
}
