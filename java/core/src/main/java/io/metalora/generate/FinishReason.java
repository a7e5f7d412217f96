package io.metalora.generate;

/** Why a text ends where it does. */
public enum FinishReason {
    /** The model ended it, or a stop string came. */
    STOP,
    /** It has as many new tokens as it may, or the model's context is full. */
    LENGTH
}
