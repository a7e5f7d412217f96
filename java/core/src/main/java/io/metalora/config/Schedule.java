package io.metalora.config;

/**
 * How the learning rate moves over a run, as transformers' {@code get_*_schedule_with_warmup}: the first
 * {@code warmup} steps rise linearly from 0, the rest stays, falls linearly to 0, or falls along half a cosine to 0.
 */
public enum Schedule {
    CONSTANT, LINEAR, COSINE;

    /**
     * Factor on the learning rate.
     *
     * @param step   steps already done, from 0
     * @param warmup warm-up steps; with any, the very first step has factor 0
     * @param total  steps of the whole run
     */
    public double factor(long step, long warmup, long total) {
        if (step < warmup) {
            return (double) step / warmup;
        }
        double rest = Math.max(1, total - warmup);
        return switch (this) {
            case CONSTANT -> 1;
            case LINEAR -> Math.max(0, (total - step) / rest);
            case COSINE -> Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((step - warmup) / rest))));
        };
    }
}
