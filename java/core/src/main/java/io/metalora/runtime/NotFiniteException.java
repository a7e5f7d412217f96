package io.metalora.runtime;

/**
 * What an adapter, or the model, computes is not finite, though the weights in the model's files are, as far as they can be
 * checked.
 */
public final class NotFiniteException extends InputException {
    private static final long serialVersionUID = 1L;

    public NotFiniteException(String message) {
        super(message);
    }
}
