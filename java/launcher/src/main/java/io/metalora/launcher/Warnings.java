package io.metalora.launcher;

import java.io.PrintWriter;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/**
 * Shows what the library logs as a line {@code warning: ...}, each once, while this is open; what other libraries log is
 * dropped. Applications that use the library configure its loggers, {@code io.metalora.*}, as they like.
 */
final class Warnings extends Handler implements AutoCloseable {

    private static final Logger ROOT = Logger.getLogger("");
    private static final String OURS = "io.metalora";

    private final PrintWriter err;
    private final List<Handler> before;
    private final Set<String> shown = new HashSet<>();

    Warnings(PrintWriter err) {
        this.err = err;
        this.before = List.of(ROOT.getHandlers());
        before.forEach(ROOT::removeHandler);
        ROOT.addHandler(this);
    }

    @Override
    public synchronized void publish(LogRecord entry) {
        boolean ours = entry.getLoggerName() != null && entry.getLoggerName().startsWith(OURS);
        if (ours && entry.getLevel().intValue() >= Level.WARNING.intValue() && shown.add(entry.getMessage())) {
            err.println("warning: " + entry.getMessage());
        }
    }

    @Override
    public void flush() {
        err.flush();
    }

    @Override
    public void close() {
        if (Arrays.asList(ROOT.getHandlers()).contains(this)) {
            ROOT.removeHandler(this);
            before.forEach(ROOT::addHandler);
        }
    }
}
