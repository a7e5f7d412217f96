package io.metalora.launcher;

/** What the process ends with. A process that a signal ends has 128 + its number: 129, 130 and 143 of HUP, INT and TERM. */
final class ExitCode {
    static final int OK = 0;
    static final int FAILURE = 1;
    /** The options, a configuration, a file or its data are at fault. */
    static final int BAD_INPUT = 2;
    /** Ctrl-C, as shells report it: 128 + SIGINT. */
    static final int INTERRUPTED = 130;
    /** Nobody reads the output any more, as shells report it: 128 + SIGPIPE. */
    static final int READER_GONE = 141;

    private ExitCode() {
    }
}
