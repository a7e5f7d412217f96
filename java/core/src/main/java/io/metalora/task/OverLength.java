package io.metalora.task;

/** What becomes of examples with more tokens than the model, or a pass, can take. */
public enum OverLength {
    /** All of them are named, and nothing is done. */
    REFUSE,
    /** They are left out, counted and said. */
    DROP;

    /** To those who train with a configuration, beside shortening the examples. */
    public static final String ADVICE = ", or leave such examples out with data.over_length: drop";
}
