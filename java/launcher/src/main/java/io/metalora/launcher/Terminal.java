package io.metalora.launcher;

import java.io.Console;

/** Whether a person is watching. */
final class Terminal {

    private Terminal() {
    }

    /** True where input and output are a terminal, so that a line may be drawn over. */
    static boolean isTerminal() {
        Console console = System.console();
        return console != null && console.isTerminal();
    }
}
