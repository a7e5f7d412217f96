package io.metalora.run;

import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.model.LoadedModel;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.ModelFingerprint;
import io.metalora.runtime.DeviceInfo;
import io.metalora.task.EncodedTask;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import io.metalora.train.IterationReport;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** Is told of the progress of a run. Called on the training thread; each method but {@link #trainedSoFar},
 * {@link #trained} and {@link #trainedApart} should return quickly. */
public interface TrainListener {

    /** Ignores everything. */
    TrainListener SILENT = new TrainListener() {
    };

    /**
     * The tasks are read and encoded; nothing has been written yet. An exception ends the run.
     *
     * @param tasks     all their splits
     * @param encoded   what training may see of each
     * @param tokenizer the model's
     * @param model     what it computes, before it is loaded
     */
    default void prepared(List<Task> tasks, List<EncodedTask> encoded, TextTokenizer tokenizer, ModelConfig config, ModelFingerprint model) {
    }

    /** The device is open, the model is about to be loaded. */
    default void opened(DeviceInfo device) {
    }

    /**
     * All memory that the run takes is held, but for what the GPU's driver takes for recorded passes: their number depends on the
     * lengths of the examples, and if no memory is left for them, passes run unrecorded.
     *
     * @param buffers what was counted before they were made; the weights are 0 where the model was loaded by the caller
     * @param scratch bytes that the largest op takes for its own use, which are set aside; 0 on the CPU, whose ops take them as
     *                they run
     */
    default void planned(MemoryEstimate buffers, long scratch) {
    }

    /**
     * Training begins.
     *
     * @param done  iterations already done by a run that is resumed, else 0
     * @param total iterations of the whole run
     */
    default void started(long done, long total) {
    }

    /** One more iteration is done, its lines are in the logs. */
    default void iteration(IterationReport report, long total) {
    }

    /**
     * After {@link #iteration}, and when a run is resumed, of a method with one shared adapter: what training has come to. Where
     * {@code optimizer.ema} is set, these are the last values, not their average. This may take long; it belongs to no
     * iteration's seconds. What it throws is treated as if the iteration after had thrown it.
     *
     * @param adapter as it is now; stays the run's, and must not be changed
     */
    default void trainedSoFar(long iteration, long total, LoadedModel loaded, LoraAdapter adapter) {
    }

    /**
     * The run is over or was interrupted. Its adapter is saved, unless it was interrupted before the first iteration; all other
     * memory of the training is free again. The model stays loaded, the adapter open and the run folder locked until this
     * returns, however long that takes.
     *
     * @param adapter the trained adapter, with the values that were saved; closed by the run
     */
    default void trained(TrainingRun.Outcome outcome, LoadedModel loaded, LoraAdapter adapter) {
    }

    /**
     * The same of a method that gives each task an adapter; they stay where they were trained.
     *
     * @param adapters by task, in the tasks' order; a task that diverged has none. They stay the run's
     */
    default void trainedApart(TrainingRun.Outcome outcome, LoadedModel loaded, Map<String, LoraAdapter> adapters) {
    }

    /** Something that the user should know, such as a damaged checkpoint that was passed over. */
    default void warning(String message) {
    }

    /** A checkpoint was written. */
    default void checkpoint(Path file) {
    }
}
