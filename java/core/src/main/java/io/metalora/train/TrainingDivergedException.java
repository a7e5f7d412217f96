package io.metalora.train;

/** A loss, a gradient or a step is no longer finite; the shared adapter was left as it was before the iteration. */
public final class TrainingDivergedException extends RuntimeException {

    private static final long serialVersionUID = 1;

    public TrainingDivergedException(String message) {
        super(message);
    }

    public TrainingDivergedException(String message, Throwable cause) {
        super(message, cause);
    }
}
