package io.metalora.model;

import java.util.Objects;

/** A prompt for a {@link Generator}, and how to continue it. */
public final class GenerationRequest {
    private final int[] prompt;
    private final int slot;
    private final GenerationOptions options;

    /**
     * @param prompt token ids, at least one
     * @param slot   of the adapter to use, or {@link AdapterSlots#BASE}
     */
    public GenerationRequest(int[] prompt, int slot, GenerationOptions options) {
        this.prompt = prompt.clone();
        this.slot = slot;
        this.options = Objects.requireNonNull(options, "options");
    }

    /** The token ids, not to be changed. */
    int[] prompt() {
        return prompt;
    }

    int slot() {
        return slot;
    }

    GenerationOptions options() {
        return options;
    }
}
