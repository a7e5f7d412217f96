package io.metalora.task;

/** What becomes of examples with more tokens than the model, or a pass, can take. */
public enum OverLength {
    /** All of them are named, and nothing is done. */
    REFUSE,
    /** They are left out, counted and said. */
    DROP
}
