package io.metalora.io.safetensors;

import io.metalora.file.JsonObject;
import io.metalora.file.RegularFile;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.DType;
import io.metalora.runtime.DataFile;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import io.metalora.runtime.host.Held;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * The weights of a model folder: {@code model.safetensors}, or the shards that
 * {@code model.safetensors.index.json} names.
 */
public final class ModelFiles implements AutoCloseable {
    public static final String SINGLE = "model.safetensors";
    public static final String INDEX = "model.safetensors.index.json";

    private final Path dir;
    private final Map<String, Safetensors> shards; // by file name
    private final Map<String, Safetensors> byTensor;

    private ModelFiles(Path dir, Map<String, Safetensors> shards, Map<String, Safetensors> byTensor) {
        this.dir = dir;
        this.shards = shards;
        this.byTensor = byTensor;
    }

    /** Opens all files and checks all their headers. */
    public static ModelFiles open(Path modelDir) {
        ModelConfig.requireFolder(modelDir);
        var shards = new LinkedHashMap<String, Safetensors>();
        var byTensor = new TreeMap<String, Safetensors>();
        try {
            if (RegularFile.isNamed(modelDir.resolve(SINGLE))) {
                var file = Safetensors.open(modelDir.resolve(SINGLE));
                shards.put(SINGLE, file);
                file.names().forEach(name -> byTensor.put(name, file));
            } else if (RegularFile.isNamed(modelDir.resolve(INDEX))) {
                openShards(modelDir, shards, byTensor);
            } else {
                throw new InputException(modelDir + " holds neither " + SINGLE + " nor " + INDEX + found(modelDir));
            }
            return new ModelFiles(modelDir, shards, byTensor);
        } catch (RuntimeException | Error e) {
            Held.closeAll(shards.values(), Safetensors::close);
            throw e;
        }
    }

    private static void openShards(Path dir, Map<String, Safetensors> shards, Map<String, Safetensors> byTensor) {
        JsonObject index = JsonObject.read(dir.resolve(INDEX));
        JsonObject map = index.object("weight_map").orElseThrow(() -> index.fail("weight_map", "is missing"));
        for (String tensor : map.keys()) {
            String shard = map.string(tensor);
            if (shard.isEmpty() || !shard.equals(fileName(shard))) {
                throw map.fail(tensor, "is \"" + shard + "\", but must be the name of a file in the same folder");
            }
            if (!shards.containsKey(shard)) {
                if (!Files.exists(dir.resolve(shard))) {
                    throw map.fail(tensor, "lies in " + shard + ", which is not in " + dir
                            + "; fetch the missing shard");
                }
                shards.put(shard, Safetensors.open(dir.resolve(shard)));
            }
            Safetensors file = shards.get(shard);
            if (!file.names().contains(tensor)) {
                throw map.fail(tensor, "should lie in " + shard + ", but that holds no such tensor;"
                        + " fetch index and shards again from one source");
            }
            byTensor.put(tensor, file);
        }
    }

    private static String fileName(String shard) {
        if (shard.indexOf('\\') >= 0 || shard.indexOf('\0') >= 0 || shard.equals("..") || shard.equals(".")) {
            return null;
        }
        return shard.substring(shard.lastIndexOf('/') + 1);
    }

    /** What a folder without weights holds instead, and the way out. */
    private static String found(Path dir) {
        try (var files = Files.list(dir)) {
            var names = files.map(f -> f.getFileName().toString()).sorted().toList();
            if (names.contains("adapter_model.safetensors")) {
                return "; it holds an adapter: give the base model's folder as the model";
            }
            for (String name : names) {
                if (name.startsWith("pytorch_model") && name.contains(".bin") || name.endsWith(".pth")) {
                    return "; convert " + name + " with save_pretrained(..., safe_serialization=True)";
                }
                if (name.endsWith(".gguf")) {
                    return "; " + name + " is a GGUF file: use the model's Hugging Face folder";
                }
            }
            return "; fetch the model's weights";
        } catch (IOException e) {
            return " and cannot be listed: " + FileFailure.reason(e);
        }
    }

    /** In ascending order. */
    public Set<String> names() {
        return Collections.unmodifiableSet(byTensor.keySet());
    }

    public boolean has(String name) {
        return byTensor.containsKey(name);
    }

    /** A weight (F32, F16 or BF16) of the expected shape, whose values are read when they are used; usable until this is closed. */
    public HostTensor tensor(String name, long... expectedShape) {
        Safetensors file = byTensor.get(name);
        if (file == null) {
            throw new InputException(dir + " holds no tensor " + name + " " + Arrays.toString(expectedShape)
                    + ", which its config.json calls for; the tensors there are " + Safetensors.sample(names())
                    + "; check that config.json and weights are of one model");
        }
        HostTensor tensor = file.tensor(name);
        if (!Arrays.equals(tensor.shape(), expectedShape)) {
            throw new InputException(file.path() + ": tensor " + name + " has shape " + Arrays.toString(tensor.shape())
                    + ", but config.json calls for " + Arrays.toString(expectedShape)
                    + "; check that config.json and weights are of one model");
        }
        if (tensor.dtype() != DType.F32 && tensor.dtype() != DType.F16 && tensor.dtype() != DType.BF16) {
            throw new InputException(file.path() + ": tensor " + name + " is of type " + tensor.dtype()
                    + ", but a weight must be F32, F16 or BF16; use the model's unquantised checkpoint");
        }
        return tensor;
    }

    /** All files. */
    public Collection<Safetensors> files() {
        return Collections.unmodifiableCollection(shards.values());
    }

    /** The file that holds a tensor. */
    public Path file(String name) {
        return byTensor.get(name).path();
    }

    /** Refuses what was read where a file was written to since it was opened; see {@link DataFile#requireUnchanged}. */
    public void requireUnchanged() {
        shards.values().forEach(Safetensors::requireUnchanged);
    }

    @Override
    public void close() {
        Held.closeAll(shards.values(), Safetensors::close);
    }
}
