package io.metalora.model;

/** Is called with each token as a {@link Generator} finds it. */
@FunctionalInterface
public interface TokenListener {

    /**
     * @param sequence which of the requests, from 0
     * @return whether that sequence continues
     */
    boolean token(int sequence, int token);
}
