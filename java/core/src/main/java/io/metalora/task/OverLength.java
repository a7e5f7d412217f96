package io.metalora.task;

/** What happens to examples with more tokens than the model, or a pass, can take. */
public enum OverLength {
    /** They are reported, and nothing is done. */
    REFUSE,
    /** They are left out, and their number is reported. */
    DROP,
    /** Their prompts lose tokens at the beginning, and their number is reported. Completions are never cut. */
    TRUNCATE;

    /** Advice for users of a configuration, beside shortening the examples. */
    public static final String ADVICE = ", or leave such examples out with data.over_length: drop";
}
