package io.metalora.launcher;

import java.io.Console;
import java.io.IOException;
import java.io.UncheckedIOException;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import org.jline.terminal.TerminalBuilder;

/** Whether a person is watching, and where the progress bar goes then. */
final class Terminal {

    private Terminal() {
    }

    /** True where input and output are a terminal, so that a line may be drawn over. */
    static boolean isTerminal() {
        Console console = System.console();
        return console != null && console.isTerminal();
    }

    /** The bar's line on the error stream, as wide as the terminal is at the moment. */
    static ConsoleProgressBarConsumer barLine() {
        return new BarLine();
    }

    /**
     * The bar's own way to the terminal's width takes the signals from the virtual machine: Ctrl-C would end the process
     * at once, with nothing saved.
     */
    private static final class BarLine extends ConsoleProgressBarConsumer {

        private static final int USUAL_WIDTH = 80;
        private static final int LEAST_WIDTH = 10;

        private final org.jline.terminal.Terminal terminal;

        BarLine() {
            super(System.err);
            try {
                terminal = TerminalBuilder.builder().nativeSignals(false).dumb(true).build();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        @Override
        public int getMaxRenderedLength() {
            int width = terminal.getWidth();
            return (width < LEAST_WIDTH ? USUAL_WIDTH : width) - 1; // a full line would be broken into two
        }

        @Override
        public void close() {
            try (terminal) {
                super.close();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
