package io.metalora.model;

/** Hears of tokens as a {@link Generator} finds them. */
@FunctionalInterface
public interface TokenListener {

    /**
     * @param sequence which of the requests, from 0
     * @return whether that sequence goes on
     */
    boolean token(int sequence, int token);
}
