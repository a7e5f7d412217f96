package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.io.ModelConfig;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The tensors of a Hugging Face checkpoint of the Llama family, by their names there. */
final class WeightNames {
    static final String EMBEDDING = "model.embed_tokens.weight";
    static final String FINAL_NORM = "model.norm.weight";
    static final String HEAD = "lm_head.weight";

    private WeightNames() {}

    static String weight(int layer, Projection p) {
        return p.path(layer) + ".weight";
    }

    static String bias(int layer, Projection p) {
        return p.path(layer) + ".bias";
    }

    static String inputNorm(int layer) {
        return "model.layers." + layer + ".input_layernorm.weight";
    }

    static String postAttentionNorm(int layer) {
        return "model.layers." + layer + ".post_attention_layernorm.weight";
    }

    static boolean isOfLayer(String name) {
        return name.startsWith("model.layers.");
    }

    static String queryNorm(int layer) {
        return "model.layers." + layer + ".self_attn.q_norm.weight";
    }

    static String keyNorm(int layer) {
        return "model.layers." + layer + ".self_attn.k_norm.weight";
    }

    static boolean hasBias(ModelConfig c, Projection p) {
        return switch (p) {
            case Q, K, V -> c.qkvBias();
            case O -> c.outBias();
            case GATE, UP, DOWN -> c.mlpBias();
        };
    }

    /** The weights of a group, one below the other. */
    static List<String> weights(int layer, LinearGroup group) {
        return group.members().stream().map(p -> weight(layer, p)).toList();
    }

    /** The biases of a group; none where its members have none, which they have together. */
    static List<String> biases(ModelConfig c, int layer, LinearGroup group) {
        return group.members().stream().filter(p -> hasBias(c, p)).map(p -> bias(layer, p)).toList();
    }

    /** The matrices of a model as they are held: each list is one weight. */
    static List<List<String>> matrices(ModelConfig c, List<LinearGroup> groups) {
        var all = new ArrayList<List<String>>();
        all.add(List.of(EMBEDDING));
        for (int layer = 0; layer < c.layers(); layer++) {
            for (var group : groups) {
                all.add(weights(layer, group));
            }
        }
        if (!c.tiedEmbeddings()) {
            all.add(List.of(HEAD));
        }
        return all;
    }

    /** Every tensor the model needs, with its shape; matrices are [out, in]. */
    static Map<String, long[]> shapes(ModelConfig c) {
        var shapes = new LinkedHashMap<String, long[]>();
        shapes.put(EMBEDDING, new long[] {c.vocabSize(), c.hiddenSize()});
        for (int layer = 0; layer < c.layers(); layer++) {
            shapes.put(inputNorm(layer), new long[] {c.hiddenSize()});
            shapes.put(postAttentionNorm(layer), new long[] {c.hiddenSize()});
            if (c.qkNorm()) {
                shapes.put(queryNorm(layer), new long[] {c.headDim()});
                shapes.put(keyNorm(layer), new long[] {c.headDim()});
            }
            for (var p : Projection.values()) {
                shapes.put(weight(layer, p), new long[] {p.out(c), p.in(c)});
                if (hasBias(c, p)) {
                    shapes.put(bias(layer, p), new long[] {p.out(c)});
                }
            }
        }
        shapes.put(FINAL_NORM, new long[] {c.hiddenSize()});
        if (!c.tiedEmbeddings()) {
            shapes.put(HEAD, new long[] {c.vocabSize(), c.hiddenSize()});
        }
        return shapes;
    }
}
