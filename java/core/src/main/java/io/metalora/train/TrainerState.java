package io.metalora.train;

import java.util.Optional;

/**
 * The whole state of training between two iterations: since every draw is a function of the iteration, there is no other.
 *
 * @param step       steps taken
 * @param parameters of the shared adapter, [P]
 * @param m          AdamW's first moments, [P]
 * @param v          its second moments, [P]
 */
public record TrainerState(long step, float[] parameters, float[] m, float[] v) {

    /** The first number that is a NaN or an infinity, in words; empty where there is none. */
    public Optional<String> notFinite() {
        return notFinite("parameters", parameters).or(() -> notFinite("m", m)).or(() -> notFinite("v", v));
    }

    private static Optional<String> notFinite(String name, float[] values) {
        for (int i = 0; i < values.length; i++) {
            if (!Float.isFinite(values[i])) {
                return Optional.of(name + " " + i + " is " + values[i]);
            }
        }
        return Optional.empty();
    }
}
