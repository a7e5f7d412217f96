package io.metalora.train;

import java.util.Optional;

/**
 * The whole state of training between two iterations: every draw is a function of the iteration and of this.
 *
 * @param step        steps taken
 * @param parameters  of the shared adapter, [P]
 * @param m           AdamW's first moments, [P]
 * @param v           its second moments, [P]
 * @param composition what {@link io.metalora.task.Composition#state} gave; empty where there is none
 */
public record TrainerState(long step, float[] parameters, float[] m, float[] v, float[] composition) {

    /** The first number that is a NaN or an infinity, in words; empty where there is none. */
    public Optional<String> notFinite() {
        return notFinite("parameters", parameters).or(() -> notFinite("m", m)).or(() -> notFinite("v", v)).or(() -> notFinite("composition", composition));
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
