package io.metalora.model;

import io.metalora.file.Sha256;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.runtime.HostTensor;
import io.metalora.text.TextTokenizer;
import java.lang.reflect.RecordComponent;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a model folder computes, short enough to keep and compare: each value that its configuration gives, and hashes of
 * tokenizer and tensors. Of large tensors some blocks are hashed, so that a model of any size takes a fraction of a second:
 * another checkpoint, or another matrix in it, is noticed; a few changed values inside a large one may not be. How the weights
 * are spread over files makes no difference.
 *
 * @param parts from a name, such as {@code config.json rms_norm_eps}, to its value
 */
public record ModelFingerprint(Map<String, String> parts) {

    private static final String CONFIG = "config.json ";
    private static final String TOKENIZER = "tokenizer.json";
    private static final String TENSOR = "tensor ";

    private static final int BLOCK = 4096;
    /** Of a tensor, spread evenly, the first and the last included; smaller tensors are hashed whole. */
    private static final int BLOCKS = 8;
    /** Tensors that a message names; a changed checkpoint has hundreds. */
    private static final int NAMED = 3;

    public ModelFingerprint {
        parts = Map.copyOf(parts);
    }

    /** Of the model in a folder; an InputException says what is wrong with it. */
    public static ModelFingerprint of(Path modelDir) {
        var parts = new TreeMap<String, String>();
        ModelConfig config = ModelConfig.read(modelDir);
        addValues(CONFIG, config, parts);
        parts.put(TOKENIZER, hex(Sha256.digest().digest(TextTokenizer.contents(modelDir))));
        try (var files = ModelFiles.open(modelDir)) {
            WeightNames.shapes(config).forEach((name, shape) -> {
                HostTensor tensor = files.tensor(name, shape);
                parts.put(TENSOR + name, tensor.dtype() + " " + Arrays.toString(shape) + " " + sample(tensor));
            });
        }
        return new ModelFingerprint(parts);
    }

    /** Every value of a configuration that is read, generation_config.json's included. */
    private static void addValues(String prefix, Record values, Map<String, String> parts) {
        for (RecordComponent component : values.getClass().getRecordComponents()) {
            String key = prefix + component.getName().replaceAll("(?=[A-Z])", "_").toLowerCase(Locale.ROOT);
            Object value;
            try {
                value = component.getAccessor().invoke(values);
            } catch (ReflectiveOperationException e) {
                throw new IllegalStateException(e);
            }
            switch (value) {
                case Record nested -> addValues(key + ".", nested, parts);
                default -> parts.put(key, value.toString());
            }
        }
    }

    private static String sample(HostTensor tensor) {
        MessageDigest sha = Sha256.digest();
        var block = new byte[BLOCK];
        long bytes = tensor.bytes();
        if (bytes <= (long) BLOCK * BLOCKS) {
            for (long at = 0; at < bytes; at += BLOCK) {
                add(sha, tensor, at, block);
            }
        } else {
            for (int i = 0; i < BLOCKS; i++) {
                add(sha, tensor, (bytes - BLOCK) / (BLOCKS - 1) * i, block);
            }
            add(sha, tensor, bytes - BLOCK, block);
        }
        return hex(sha.digest());
    }

    private static void add(MessageDigest sha, HostTensor tensor, long at, byte[] block) {
        int count = (int) Math.min(block.length, tensor.bytes() - at);
        tensor.copyBytes(at, block, 0, count);
        sha.update(block, 0, count);
    }

    /** 64 of the 256 bits: enough where nothing is forged on purpose. */
    private static String hex(byte[] digest) {
        return HexFormat.of().formatHex(digest, 0, 8);
    }

    /** A hash of all parts, as 16 hexadecimal digits. */
    public String digest() {
        MessageDigest sha = Sha256.digest();
        new TreeMap<>(parts).forEach((key, value) -> sha.update((key + "\0" + value + "\0").getBytes(StandardCharsets.UTF_8)));
        return hex(sha.digest());
    }

    /** Whether the other encodes text in the same way, whatever its weights are. */
    public boolean encodesAs(ModelFingerprint other) {
        return withoutTensors().equals(other.withoutTensors());
    }

    private Map<String, String> withoutTensors() {
        var rest = new TreeMap<>(parts);
        rest.keySet().removeIf(key -> key.startsWith(TENSOR));
        return rest;
    }

    /** What has changed from this one to another, in words; empty if nothing has. */
    public List<String> changesTo(ModelFingerprint now) {
        var changes = new ArrayList<String>();
        var tensors = new ArrayList<String>();
        var keys = new TreeMap<>(parts);
        keys.putAll(now.parts);
        for (String key : keys.keySet()) {
            String was = parts.get(key);
            String is = now.parts.get(key);
            if (was != null && was.equals(is)) {
                continue;
            }
            if (key.startsWith(CONFIG) && (was == null || is == null)) {
                continue; // a value that one of two versions of this program does not read
            }
            if (key.startsWith(TENSOR)) {
                tensors.add(key + tensorChange(was, is));
            } else if (key.equals(TOKENIZER)) {
                changes.add(TOKENIZER + " has another content");
            } else {
                changes.add(key + " was " + was + ", is " + is);
            }
        }
        changes.addAll(tensors.subList(0, Math.min(NAMED, tensors.size())));
        if (tensors.size() > NAMED) {
            changes.add(tensors.size() - NAMED + " more tensors");
        }
        return changes;
    }

    private static String tensorChange(String was, String is) {
        if (was == null) {
            return " is new";
        }
        if (is == null) {
            return " is gone";
        }
        String shapeBefore = was.substring(0, was.lastIndexOf(' '));
        String shape = is.substring(0, is.lastIndexOf(' '));
        return shape.equals(shapeBefore) ? " holds other values" : " was " + shapeBefore + ", is " + shape;
    }
}
