package io.metalora.model;

/** What a {@link Generator} continued a prompt with. */
public final class Continuation {
    private final int[] tokens;
    private final boolean stopped;

    Continuation(int[] tokens, boolean stopped) {
        this.tokens = tokens;
        this.stopped = stopped;
    }

    /** The ids, without the stop token. */
    public int[] tokens() {
        return tokens.clone();
    }

    /** Whether a stop token or the listener ended it; else it has as many tokens as it may. */
    public boolean stopped() {
        return stopped;
    }
}
