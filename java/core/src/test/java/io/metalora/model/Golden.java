package io.metalora.model;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.StreamSupport;

/** A case that make_goldens.py computed with PyTorch, transformers and PEFT. */
record Golden(String name, Path folder, JsonNode json, Map<String, float[]> tensors) {
    static final String[] NAMES = {
        "llama", "llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16", "qwen3", "qwen3-mixture"
    };

    static Golden read(String name) {
        try {
            var folder = Path.of(Golden.class.getResource("/goldens/" + name).toURI());
            var json = new ObjectMapper().readTree(folder.resolve("case.json").toFile());
            var tensors = new HashMap<String, float[]>();
            try (var file = Safetensors.open(folder.resolve("expected.safetensors"))) {
                for (var key : file.names()) {
                    tensors.put(key, file.tensor(key).toFloats());
                }
            }
            return new Golden(name, folder, json, tensors);
        } catch (IOException | URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    Path model() {
        return folder.resolve("model");
    }

    Path adapter() {
        return folder.resolve("adapter");
    }

    int[][] sequences() {
        return StreamSupport.stream(json.get("sequences").spliterator(), false)
                .map(Golden::ints)
                .toArray(int[][]::new);
    }

    int[] firstTargets() {
        return ints(json.get("first_targets"));
    }

    double loss() {
        return json.get("loss").asDouble();
    }

    int[] prompt() {
        return ints(json.get("prompt"));
    }

    int[] continuation() {
        return ints(json.get("continuation"));
    }

    /** All sequences in one pack, weighted for the mean over all targets, all in slot 0. */
    TokenPack pack() {
        var pack = new TokenPack(PassLimits.ofTokens(128, 4));
        int targets = IntStream.range(0, sequences().length)
                .map(i -> sequences()[i].length - firstTargets()[i])
                .sum();
        for (int i = 0; i < sequences().length; i++) {
            pack.add(0, sequences()[i], firstTargets()[i], 1f / targets);
        }
        return pack;
    }

    private static int[] ints(JsonNode array) {
        return IntStream.range(0, array.size()).map(i -> array.get(i).asInt()).toArray();
    }

    /** |actual - expected| / |expected| in the Euclidean norm. */
    static double error(float[] actual, float[] expected) {
        if (actual.length != expected.length) {
            throw new AssertionError(actual.length + " values, expected " + expected.length);
        }
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < actual.length; i++) {
            double d = (double) actual[i] - expected[i];
            difference += d * d;
            norm += (double) expected[i] * expected[i];
        }
        return Math.sqrt(difference / norm);
    }

    @Override
    public String toString() {
        return name;
    }
}
