package io.metalora.io;

/**
 * Rotary position embedding (Su et al. 2021) with base {@code theta}. {@code factor} belongs to LINEAR and LLAMA3
 * scaling, the last three to LLAMA3 alone; a value that does not belong is 1.
 */
public record RopeConfig(
        Scaling scaling,
        double theta,
        double factor,
        double lowFreqFactor,
        double highFreqFactor,
        double originalMaxPositions) {

    /** How positions beyond the pretraining length are reached. */
    public enum Scaling {
        /** Not at all. */
        PLAIN,
        /** Every position divided by the factor (Chen et al. 2023). */
        LINEAR,
        /** Low frequencies divided by the factor, high ones kept, a ramp between them (Llama 3.1). */
        LLAMA3
    }

    /** Unscaled. */
    public static RopeConfig plain(double theta) {
        return new RopeConfig(Scaling.PLAIN, theta, 1, 1, 1, 1);
    }
}
