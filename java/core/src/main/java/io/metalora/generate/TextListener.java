package io.metalora.generate;

/** Hears of text as it comes. */
@FunctionalInterface
public interface TextListener {

    /**
     * @param request which of the requests, from 0
     * @param piece   what follows the pieces before; whole characters
     */
    void text(int request, String piece);
}
