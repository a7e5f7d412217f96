package io.metalora.model;

/** The largest pack a {@link ModelPass} takes. */
public record PassLimits(int tokens, int sequences, int lossRows, int slots) {
    public PassLimits {
        if (tokens < 1 || sequences < 1 || lossRows < 1 || slots < 1) {
            throw new IllegalArgumentException("limits of " + tokens + " tokens, " + sequences + " sequences, "
                    + lossRows + " loss rows, " + slots + " slots");
        }
    }

    /** Room for {@code tokens} in any division into sequences and loss rows. */
    public static PassLimits ofTokens(int tokens, int slots) {
        return new PassLimits(tokens, tokens, tokens, slots);
    }
}
