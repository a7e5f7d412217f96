package io.metalora.train;

import java.util.Optional;

/**
 * The whole state of training between two iterations: every draw is a function of the iteration and of this. Its vectors may be
 * large and are not copied: neither side may change them.
 */
public final class TrainerState {

    private final long step;
    private final float[] parameters;
    private final float[] m;
    private final float[] v;
    private final float[] composition;
    private final float[] average;
    private final float[] innerRates;

    private TrainerState(long step, float[] parameters, float[] m, float[] v, float[] composition, float[] average,
            float[] innerRates) {
        this.step = step;
        this.parameters = parameters;
        this.m = m;
        this.v = v;
        this.composition = composition;
        this.average = average;
        this.innerRates = innerRates;
    }

    /**
     * Without an average and learned rates.
     *
     * @param step        steps taken
     * @param parameters  of the shared adapter, [P]
     * @param m           AdamW's first moments, [P]
     * @param v           its second moments, [P]
     * @param composition what {@link io.metalora.task.Composition#state} gave; empty where there is none
     */
    public TrainerState(long step, float[] parameters, float[] m, float[] v, float[] composition) {
        this(step, parameters, m, v, composition, new float[0], new float[0]);
    }

    /**
     * With these beside the rest.
     *
     * @param average    of the shared adapter over the steps, [P]; empty where none is kept
     * @param innerRates what is learned of them; empty where they are constant
     */
    public TrainerState with(float[] average, float[] innerRates) {
        return new TrainerState(step, parameters, m, v, composition, average, innerRates);
    }

    /** Steps taken. */
    public long step() {
        return step;
    }

    /** Of the shared adapter, [P]. */
    public float[] parameters() {
        return parameters;
    }

    /** AdamW's first moments, [P]. */
    public float[] m() {
        return m;
    }

    /** AdamW's second moments, [P]. */
    public float[] v() {
        return v;
    }

    /** What {@link io.metalora.task.Composition#state} gave; empty where there is none. */
    public float[] composition() {
        return composition;
    }

    /** Of the shared adapter over the steps, [P]; empty where none is kept. */
    public float[] average() {
        return average;
    }

    /** What is learned of the inner rates; empty where they are constant. */
    public float[] innerRates() {
        return innerRates;
    }

    /** The first number that is a NaN or an infinity, in words; empty where there is none. */
    public Optional<String> notFinite() {
        return notFinite("parameters", parameters).or(() -> notFinite("m", m)).or(() -> notFinite("v", v))
                .or(() -> notFinite("composition", composition)).or(() -> notFinite("average", average))
                .or(() -> notFinite("inner_rates", innerRates));
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
