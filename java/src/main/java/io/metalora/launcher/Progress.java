package io.metalora.launcher;

import java.io.PrintWriter;
import java.time.Duration;
import java.util.Locale;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import picocli.CommandLine.Model.CommandSpec;

/**
 * Shows how far long work is, with the time left and a rate: a bar on a terminal, else a plain line now and then. It goes to
 * the error stream, so that what a verb prints stays clean.
 */
final class Progress implements AutoCloseable {

    /** Between two plain lines: often enough to see life, seldom enough for a log. */
    private static final Duration PLAIN_INTERVAL = Duration.ofSeconds(10);
    private static final Duration BAR_INTERVAL = Duration.ofMillis(200);

    private final String name;
    private final long total;
    private final PrintWriter err;
    private final ProgressBar bar;
    private final long started = System.nanoTime();
    private long startedAt;
    private long done;
    private long lastLine = started;
    private String note = "";
    private long tokens;

    private Progress(CommandSpec spec, String name, String unit, long total, long done) {
        this.name = name;
        this.total = total;
        this.startedAt = done;
        this.done = done;
        this.err = spec.commandLine().getErr();
        this.bar = Terminal.isTerminal() ? bar(name, unit, total, done) : null;
    }

    private static ProgressBar bar(String name, String unit, long total, long done) {
        return new ProgressBarBuilder()
                .setTaskName(name)
                .setInitialMax(total)
                .startsFrom(done, Duration.ZERO)
                .setUnit(unit, 1)
                .setUpdateIntervalMillis((int) BAR_INTERVAL.toMillis())
                .setStyle(ProgressBarStyle.ASCII)
                .setConsumer(new ConsoleProgressBarConsumer(System.err))
                .clearDisplayOnFinish()
                .build();
    }

    /** Progress in tokens. */
    static Progress tokens(CommandSpec spec, String name, long total) {
        return new Progress(spec, name, " tokens", total, 0);
    }

    /** Progress in items answered. */
    static Progress items(CommandSpec spec, String name, long total) {
        return new Progress(spec, name, " items", total, 0);
    }

    /** Progress in iterations, of which some may be done already. */
    static Progress iterations(CommandSpec spec, String name, long total, long done) {
        return new Progress(spec, name, " it", total, done);
    }

    /** What stands behind the numbers, such as a loss. */
    void note(String text) {
        note = text;
        show(System.nanoTime());
    }

    /** So many more tokens went through the model; with any, their rate is shown. */
    void tokens(long count) {
        tokens += count;
        show(System.nanoTime());
    }

    private void show(long now) {
        if (bar != null) {
            bar.setExtraMessage(remark(now));
        }
    }

    private String remark(long now) {
        String rate = tokens == 0 ? "" : String.format(Locale.ROOT, "%.0f tok/s", tokens / ((now - started) / 1e9));
        return note.isEmpty() || rate.isEmpty() ? note + rate : note + ", " + rate;
    }

    /** So much more is done. */
    void step(long count) {
        done += count;
        if (bar != null) {
            bar.stepBy(count);
            return;
        }
        long now = System.nanoTime();
        if (now - lastLine >= PLAIN_INTERVAL.toNanos()) {
            lastLine = now;
            err.println(line(now));
        }
    }

    private String line(long now) {
        double seconds = (now - started) / 1e9;
        double rate = (done - startedAt) / seconds;
        long left = rate > 0 ? Math.max(0, Math.round((total - done) / rate)) : 0;
        String remark = remark(now);
        return String.format(Locale.ROOT, "%s: %d of %d (%.0f%%), %s left%s", name, done, total, 100.0 * Math.min(done, total) / total,
                time(left), remark.isEmpty() ? "" : ", " + remark);
    }

    /** Seconds as a clock shows them: 0:07, 12:30, 1:02:03. */
    static String time(long seconds) {
        return seconds < 3600
                ? String.format(Locale.ROOT, "%d:%02d", seconds / 60, seconds % 60)
                : String.format(Locale.ROOT, "%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
    }

    @Override
    public void close() {
        if (bar != null) {
            bar.close();
        }
    }
}
