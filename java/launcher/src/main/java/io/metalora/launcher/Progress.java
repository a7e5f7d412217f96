package io.metalora.launcher;

import java.io.PrintWriter;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.LongSupplier;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import picocli.CommandLine.Model.CommandSpec;

/**
 * Shows the progress of long work, stage by stage, with the time left for the stage and for all of them: a bar on a terminal,
 * else a plain line now and then, whether or not anything has moved since. It goes to the error stream, so that what a verb
 * prints stays clean.
 */
final class Progress implements AutoCloseable {

    /**
     * A part of the work.
     *
     * @param name  what is done
     * @param unit  what is counted
     * @param total how many; 0 where that is not known
     * @param work  what it is expected to cost, in a unit that all stages of the work share
     */
    record Stage(String name, String unit, double total, double work) {
    }

    /** Between two plain lines: often enough to see life, seldom enough for a log. */
    static final Duration PLAIN_INTERVAL = Duration.ofSeconds(10);
    private static final Duration BAR_INTERVAL = Duration.ofMillis(200);
    /** Steps of the bar where it stands for several stages. */
    private static final long BAR_STEPS = 1000;
    private static final double NANOS = 1e9;

    private final String name;
    private final PrintWriter err;
    private final LongSupplier clock;
    private final ProgressBar bar;
    private final Thread beat;

    private List<Stage> stages;
    private int stage;
    private double startedAt;
    private double done;
    private long begun;
    private double workBefore;
    private double secondsBefore;
    private long tokens;
    private String note = "";
    /** For the bar's own thread, which waits for no lock. */
    private volatile OptionalDouble shownLeft = OptionalDouble.empty();

    private Progress(CommandSpec spec, String name, List<Stage> stages) {
        this(spec.commandLine().getErr(), name, stages, System::nanoTime, Terminal.isTerminal());
    }

    Progress(PrintWriter err, String name, List<Stage> stages, LongSupplier clock, boolean terminal) {
        this.name = name;
        this.err = err;
        this.clock = clock;
        this.stages = List.copyOf(stages);
        this.begun = clock.getAsLong();
        this.bar = terminal ? bar() : null;
        this.beat = terminal ? null : Thread.ofPlatform().daemon().name("progress").unstarted(this::beat);
        if (beat != null) {
            beat.start();
        }
    }

    /** Of several stages; the first begins now. */
    static Progress of(CommandSpec spec, String name, List<Stage> stages) {
        return new Progress(spec, name, stages);
    }

    /** Of one stage. */
    static Progress of(CommandSpec spec, String name, String unit, long total) {
        return new Progress(spec, name, List.of(new Stage(name, unit, total, total)));
    }

    private ProgressBar bar() {
        return new ProgressBarBuilder()
                .setTaskName(name)
                .setInitialMax(BAR_STEPS)
                .setUnit("%", BAR_STEPS / 100)
                .setUpdateIntervalMillis((int) BAR_INTERVAL.toMillis())
                .setStyle(ProgressBarStyle.ASCII)
                .setConsumer(Terminal.barLine())
                .setEtaFunction(state -> shownLeft.isPresent() ? Optional.of(Duration.ofSeconds(Math.round(shownLeft.getAsDouble())))
                        : Optional.empty())
                .clearDisplayOnFinish()
                .build();
    }

    /** The stages as they are known by now; those before the present one stay as they were. */
    synchronized void plan(List<Stage> all) {
        stages = List.copyOf(all);
        show();
    }

    /** A stage begins, and the one before is over. */
    synchronized void begin(int number, double alreadyDone) {
        long now = clock.getAsLong();
        // What was done before this process says nothing about its speed.
        workBefore += workOf(stage, startedAt, done);
        secondsBefore += (now - begun) / NANOS;
        stage = number;
        startedAt = alreadyDone;
        done = alreadyDone;
        begun = now;
        tokens = 0;
        note = "";
        show();
    }

    private double workOf(int number, double from, double to) {
        Stage of = stages.get(number);
        return of.total() > 0 ? of.work() * (to - from) / of.total() : 0;
    }

    /** What stands behind the numbers, such as a loss. */
    synchronized void note(String text) {
        note = text;
        show();
    }

    /** So many more tokens went through the model; with any, their rate is shown. */
    synchronized void tokens(long count) {
        tokens += count;
        show();
    }

    /** So much more is done. */
    synchronized void step(double count) {
        done += count;
        show();
    }

    private void show() {
        if (bar != null) {
            shownLeft = secondsLeft();
            bar.stepTo(Math.round(BAR_STEPS * share()));
            bar.setExtraMessage(title() + remark()); // the bar itself shows how far all of the work is
        }
    }

    /** How much of all the work is done. */
    private double share() {
        double all = stages.stream().mapToDouble(Stage::work).sum();
        double before = stages.subList(0, stage).stream().mapToDouble(Stage::work).sum();
        return all > 0 ? Math.min(1, (before + workOf(stage, 0, done)) / all) : 0;
    }

    /** Of the present stage, from its own pace. */
    private OptionalDouble secondsLeftInStage() {
        Stage now = stages.get(stage);
        if (now.total() <= 0) {
            return OptionalDouble.empty();
        }
        double open = Math.max(0, now.total() - done);
        if (done > startedAt) {
            return OptionalDouble.of(seconds() * open / (done - startedAt));
        }
        return ofWork(workOf(stage, 0, open));
    }

    /** Of the present stage and all after it. */
    synchronized OptionalDouble secondsLeft() {
        OptionalDouble here = secondsLeftInStage();
        OptionalDouble later = ofWork(stages.subList(stage + 1, stages.size()).stream().mapToDouble(Stage::work).sum());
        return here.isPresent() && later.isPresent() ? OptionalDouble.of(here.getAsDouble() + later.getAsDouble())
                : OptionalDouble.empty();
    }

    /** At the pace of all that was done so far. */
    private OptionalDouble ofWork(double work) {
        double sofar = workBefore + workOf(stage, startedAt, done);
        if (work == 0) {
            return OptionalDouble.of(0);
        }
        return sofar > 0 ? OptionalDouble.of((secondsBefore + seconds()) * work / sofar) : OptionalDouble.empty();
    }

    private double seconds() {
        return (clock.getAsLong() - begun) / NANOS;
    }

    private void beat() {
        try {
            while (true) {
                Thread.sleep(PLAIN_INTERVAL);
                err.println(line());
            }
        } catch (InterruptedException e) {
            // Closed.
        }
    }

    /** The plain line. */
    synchronized String line() {
        var line = new StringBuilder(name).append(": ");
        if (stages.size() > 1) {
            line.append("stage ").append(stage + 1).append(" of ").append(stages.size()).append(", ");
        }
        line.append(title());
        Stage now = stages.get(stage);
        if (now.total() > 0) {
            line.append(String.format(Locale.ROOT, " (%.0f%%)", 100 * Math.min(1, done / now.total())));
            secondsLeftInStage().ifPresent(left -> line.append(", ").append(time(Math.round(left))).append(" left"));
            if (stage < stages.size() - 1) {
                secondsLeft().ifPresent(left -> line.append(", ").append(time(Math.round(left))).append(" in all"));
            }
        } else {
            line.append(", since ").append(time(Math.round(seconds())));
        }
        return line.append(remark()).toString();
    }

    private String title() {
        Stage now = stages.get(stage);
        String count = now.total() > 0 ? String.format(Locale.ROOT, "%.0f of %.0f %s", Math.floor(done), now.total(), now.unit()) : "";
        if (stages.size() == 1) {
            return count.isEmpty() ? now.name() : count;
        }
        return now.name() + (count.isEmpty() ? "" : ", " + count);
    }

    private String remark() {
        String rate = tokens == 0 ? "" : String.format(Locale.ROOT, ", %.0f tok/s", tokens / seconds());
        return (note.isEmpty() ? "" : ", " + note) + rate;
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
        if (beat != null) {
            beat.interrupt();
        }
    }
}
