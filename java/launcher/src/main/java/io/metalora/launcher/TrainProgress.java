package io.metalora.launcher;

import io.metalora.io.ModelConfig;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.ModelFingerprint;
import io.metalora.run.TrainListener;
import io.metalora.runtime.DeviceInfo;
import io.metalora.task.EncodedTask;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import io.metalora.train.IterationReport;
import java.util.List;
import java.util.Locale;
import picocli.CommandLine.Model.CommandSpec;

/** Shows training as a stage of longer work: iterations, time left, loss, tokens a second. */
class TrainProgress implements TrainListener {

    /** Weight of the newest iteration in the rate and the loss that are shown. */
    private static final double SMOOTHING = 0.2;

    private final CommandSpec spec;
    private final String name;
    private final Progress progress;
    private final int stage;
    private List<EncodedTask> encoded = List.of();
    private DeviceInfo device;
    private double rate;
    private double loss;
    private boolean any;

    /** @param stage which of the progress' stages the training is */
    TrainProgress(CommandSpec spec, String name, Progress progress, int stage) {
        this.spec = spec;
        this.name = name;
        this.progress = progress;
        this.stage = stage;
    }

    /** What training may see of the tasks; empty before they are read. */
    List<EncodedTask> encoded() {
        return encoded;
    }

    @Override
    public void prepared(List<Task> tasks, List<EncodedTask> all, TextTokenizer tokenizer, ModelConfig config, ModelFingerprint model) {
        encoded = all;
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
            spec.commandLine().getErr().println(name + ": continuing after " + done + " of " + total + " iterations");
        }
        progress.begin(stage, done);
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
}
