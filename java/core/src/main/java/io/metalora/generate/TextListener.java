package io.metalora.generate;

/** Is called with each piece of text as it is generated. */
@FunctionalInterface
public interface TextListener {

    /**
     * @param request which of the requests, from 0
     * @param piece   what follows the pieces before; whole characters
     */
    void text(int request, String piece);
}
