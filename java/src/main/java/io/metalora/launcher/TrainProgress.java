package io.metalora.launcher;

import io.metalora.model.MemoryEstimate;
import io.metalora.runtime.DeviceInfo;
import io.metalora.train.IterationReport;
import io.metalora.train.TrainListener;
import java.util.Locale;
import picocli.CommandLine.Model.CommandSpec;

/** Shows a training run's progress: iterations, time left, loss, tokens a second. */
final class TrainProgress implements TrainListener, AutoCloseable {

    /** Weight of the newest iteration in the rate and the loss that are shown. */
    private static final double SMOOTHING = 0.2;

    private final CommandSpec spec;
    private final String name;
    private Progress progress;
    private DeviceInfo device;
    private double rate;
    private double loss;
    private boolean any;

    TrainProgress(CommandSpec spec, String name) {
        this.spec = spec;
        this.name = name;
    }

    /** The device that the run opened; null before. */
    DeviceInfo device() {
        return device;
    }

    @Override
    public void opened(DeviceInfo info) {
        device = info;
    }

    @Override
    public void planned(MemoryEstimate buffers, long scratch) {
        if (scratch > 0) {
            spec.commandLine().getOut().println(name + ": memory on the GPU: " + buffers.describe(scratch));
        }
    }

    @Override
    public void started(long done, long total) {
        if (done > 0) {
            spec.commandLine().getErr().println(name + ": going on after " + done + " of " + total + " iterations");
        }
        progress = Progress.iterations(spec, name, total, done);
    }

    @Override
    public void iteration(IterationReport report, long total) {
        double weight = any ? SMOOTHING : 1;
        any = true;
        rate += weight * (report.tokensPerSecond() - rate);
        loss += weight * (report.loss() - loss);
        progress.note(String.format(Locale.ROOT, "loss %.3f, %.0f tok/s", loss, rate));
        progress.step(1);
    }

    @Override
    public void warning(String message) {
        spec.commandLine().getErr().println("warning: " + message);
    }

    @Override
    public void close() {
        if (progress != null) {
            progress.close();
        }
    }
}
