package io.metalora.adapter;

import io.metalora.runtime.InputException;
import java.util.Objects;

/**
 * What defines an adapter besides its values.
 *
 * @param rank r, the rows of A and the columns of B
 * @param alpha numerator of the scale
 * @param rslora divide by sqrt(r) instead of r (Kalajdzievski 2023)
 * @param dropout probability that an input of A is dropped in training, in [0, 1)
 */
public record LoraConfig(int rank, float alpha, boolean rslora, float dropout, TargetModules targets) {

    /** The largest rank that ops take. */
    public static final int MAX_RANK = 65_536;

    public LoraConfig {
        Objects.requireNonNull(targets, "targets");
        if (rank < 1 || rank > MAX_RANK) {
            throw new InputException("rank (r) is " + rank + ", but must be between 1 and " + MAX_RANK);
        }
        if (!(alpha > 0) || Float.isInfinite(alpha)) {
            throw new InputException("alpha (lora_alpha) is " + alpha + ", but must be above 0");
        }
        if (!(dropout >= 0 && dropout < 1)) {
            throw new InputException("dropout (lora_dropout) is " + dropout + ", but must lie in [0, 1)");
        }
    }

    /** The factor on B A x: alpha / r, or alpha / sqrt(r) with rsLoRA. */
    public float scale() {
        return (float) (alpha / (rslora ? Math.sqrt(rank) : rank));
    }
}
