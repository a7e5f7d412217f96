package io.metalora.launcher;

import io.metalora.runtime.InputException;

/**
 * What the process' locale does to arguments and names of files: Java decodes them by it, and loses what it has no characters
 * for.
 */
final class Locales {

    /** How to get all letters. */
    static final String HELP = "this process' locale takes text for " + System.getProperty("sun.jnu.encoding")
            + "; where that is not UTF-8, set a locale that is, as LC_ALL=C.UTF-8";

    private static final char LOST = '\ufffd';

    private Locales() {
    }

    /** @throws InputException if letters of an argument are lost: going on would be with another text, or another file */
    static void requireWhole(String[] args) {
        for (String arg : args) {
            if (arg.indexOf(LOST) >= 0) {
                throw new InputException("the argument '" + arg + "' holds bytes that are no letters here: " + HELP);
            }
        }
    }
}
