package io.metalora.config;

/** Which tasks form an iteration of MeTA-LoRA. */
public enum CompositionRule {
    /** All choices equally likely. */
    UNIFORM,
    /** Tasks with more samples more often: p_i proportional to n_i^(1/temperature). */
    SIZE,
    /** Tasks whose query loss falls slowest more often. */
    LOSS,
    /** Tasks whose gradients have pointed the same way together. */
    AGREE,
    /** Tasks whose gradients have pointed elsewhere together. */
    COVER
}
