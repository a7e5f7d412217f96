package io.metalora.launcher;

/** What the process ends with. */
final class ExitCode {
    static final int OK = 0;
    static final int FAILURE = 1;
    /** The options, a configuration, a file or its data are at fault. */
    static final int BAD_INPUT = 2;
    /** Ctrl-C, as shells report it: 128 + SIGINT. */
    static final int INTERRUPTED = 130;

    private ExitCode() {
    }
}
