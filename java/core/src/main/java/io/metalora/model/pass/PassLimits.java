package io.metalora.model.pass;

import io.metalora.runtime.InputException;

/** The largest pack a {@link Pass} takes. */
public record PassLimits(int tokens, int sequences, int lossRows, int slots) {
    /** The most tokens, sequences or loss rows: the sum of two of them still fits an int. */
    public static final int MOST = 1 << 29;

    /** The most slots that ops take. */
    public static final int MOST_SLOTS = 65_000;

    /** Refuses with an InputException what is more than any pass takes. */
    public PassLimits {
        if (tokens < 1 || sequences < 1 || lossRows < 1 || slots < 1) {
            throw new IllegalArgumentException("limits of " + tokens + " tokens, " + sequences + " sequences, "
                    + lossRows + " loss rows, " + slots + " slots");
        }
        if (Math.max(tokens, Math.max(sequences, lossRows)) > MOST) {
            throw new InputException("a pass of " + tokens + " tokens, " + sequences + " sequences and " + lossRows
                    + " loss rows is more than the " + MOST + " of each that one takes; lower the token budget");
        }
        if (slots > MOST_SLOTS) {
            throw new InputException("a pass with " + slots + " adapter slots is more than the " + MOST_SLOTS
                    + " that one takes; use fewer tasks at a time");
        }
    }

    /** Room for {@code tokens} in any division into sequences and loss rows. */
    public static PassLimits ofTokens(int tokens, int slots) {
        return new PassLimits(tokens, tokens, tokens, slots);
    }
}
