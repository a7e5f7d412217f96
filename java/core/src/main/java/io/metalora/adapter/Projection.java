package io.metalora.adapter;

import io.metalora.io.ModelConfig;

/** The seven Linears of a decoder layer, in the order of the flat layout. */
public enum Projection {
    Q("self_attn.q_proj"),
    K("self_attn.k_proj"),
    V("self_attn.v_proj"),
    O("self_attn.o_proj"),
    GATE("mlp.gate_proj"),
    UP("mlp.up_proj"),
    DOWN("mlp.down_proj");

    private final String module;

    Projection(String module) {
        this.module = module;
    }

    /** Module path within a layer: {@code self_attn.q_proj}. */
    public String module() {
        return module;
    }

    /** Last part of the module path: {@code q_proj}. */
    public String leaf() {
        return module.substring(module.indexOf('.') + 1);
    }

    /** Module path within the model: {@code model.layers.3.self_attn.q_proj}. */
    public String path(int layer) {
        return "model.layers." + layer + "." + module;
    }

    /** Input features. */
    public int in(ModelConfig m) {
        return switch (this) {
            case Q, K, V, GATE, UP -> m.hiddenSize();
            case O -> m.heads() * m.headDim();
            case DOWN -> m.intermediateSize();
        };
    }

    /** Output features. */
    public int out(ModelConfig m) {
        return switch (this) {
            case Q -> m.heads() * m.headDim();
            case K, V -> m.kvHeads() * m.headDim();
            case O, DOWN -> m.hiddenSize();
            case GATE, UP -> m.intermediateSize();
        };
    }
}
