package io.metalora.runtime.op;

/**
 * Causal grouped-query attention: query head h attends with key/value head {@code h / (heads / kvHeads)}.
 *
 * @param window tokens a query sees, itself included; 0 = all before it
 * @param scale  factor of the scores, usually {@code 1 / sqrt(headDim)}
 */
public record AttentionShape(int heads, int kvHeads, int headDim, int window, float scale) {
    public AttentionShape {
        if (heads <= 0 || kvHeads <= 0 || headDim <= 0 || heads % kvHeads != 0 || window < 0) {
            throw new IllegalArgumentException(heads + " heads, " + kvHeads + " key/value heads, head_dim " + headDim
                    + ", window " + window);
        }
    }
}
