package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.io.ModelConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.MemoryEstimate;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedTask;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/**
 * A training run from config to adapter, with its run folder: checks everything first, trains, logs, writes checkpoints,
 * and can be resumed after a kill at any moment with the same bits in the end.
 */
public final class TrainingRun {

    /**
     * How a run ended.
     *
     * @param folder      the run's
     * @param done        iterations done
     * @param total       iterations of the whole run
     * @param interrupted whether it stopped on request; {@link #resume} then goes on
     */
    public record Outcome(RunFolder folder, long done, long total, boolean interrupted) {
    }

    private final TrainConfig config;
    private final RunFolder folder;
    private final boolean resumed;
    private final TrainListener listener;
    private final BooleanSupplier stop;

    private TrainingRun(TrainConfig config, RunFolder folder, boolean resumed, TrainListener listener, BooleanSupplier stop) {
        this.config = config;
        this.folder = folder;
        this.resumed = resumed;
        this.listener = listener;
        this.stop = stop;
    }

    /**
     * Starts a run in {@code config.output()}, which must not hold one.
     *
     * @param stop asked before every pass through the model; once true, a checkpoint is written and the run ends
     * @throws InputException if a setting, a file or an example is bad; nothing has been written then
     */
    public static Outcome start(TrainConfig config, TrainListener listener, BooleanSupplier stop) {
        TrainConfig absolute = requirePaths(config).absolute();
        return new TrainingRun(absolute, RunFolder.unused(absolute.output()), false, listener, stop).load();
    }

    /**
     * As {@link #start(TrainConfig, TrainListener, BooleanSupplier)} on a loaded model and given tasks, for several runs on
     * one model. Such a run resumes only if {@code config.model()} and {@code config.data().folder()} name the same.
     */
    public static Outcome start(TrainConfig config, CausalLM model, TextTokenizer tokenizer, List<Task> tasks,
                                TrainListener listener, BooleanSupplier stop) {
        TrainConfig absolute = requirePaths(config).absolute();
        var run = new TrainingRun(absolute, RunFolder.unused(absolute.output()), false, listener, stop);
        List<EncodedTask> encoded = run.encode(tokenizer, model.config(), tasks);
        listener.prepared(tasks, encoded);
        Outcome outcome = run.train(model, encoded, TrainingMemory.besideModel(absolute, model.config(), model.options(),
                run.layout(model.config()), encoded, model.device()));
        listener.trained(outcome, model);
        return outcome;
    }

    /** Goes on with the run in a folder, by its own config. */
    public static Outcome resume(Path run, TrainListener listener, BooleanSupplier stop) {
        RunFolder folder = RunFolder.existing(run.toAbsolutePath().normalize());
        return new TrainingRun(folder.config(), folder, true, listener, stop).load();
    }

    /**
     * Goes on with the run in a folder, with a config given again: its section compute counts, all else must be as the
     * run began (but for {@code output}).
     *
     * @throws InputException if it differs, naming the keys
     */
    public static Outcome resume(Path run, TrainConfig given, TrainListener listener, BooleanSupplier stop) {
        RunFolder folder = RunFolder.existing(run.toAbsolutePath().normalize());
        var before = ConfigReader.leaves(folder.config());
        var now = ConfigReader.leaves(given.absolute());
        var differing = new ArrayList<String>();
        for (String key : now.keySet()) {
            if (!key.equals("output") && !key.startsWith("compute.") && !now.get(key).equals(before.get(key))) {
                differing.add(key + " (was " + before.get(key) + ", is " + now.get(key) + ")");
            }
        }
        if (!differing.isEmpty()) {
            throw new InputException(run + ": the run was started with other settings: " + String.join(", ", differing)
                    + "; resume it without a config, or start a new run in another output folder");
        }
        return new TrainingRun(given.absolute(), folder, true, listener, stop).load();
    }

    private static TrainConfig requirePaths(TrainConfig config) {
        require(config.model(), "model", "the folder of a Hugging Face checkpoint");
        require(config.data().folder(), "data.folder", "a folder with one folder a task");
        require(config.output(), "output", "the run folder to make");
        return config;
    }

    private static void require(Path path, String key, String what) {
        if (path == null) {
            throw new InputException("config: " + key + " is not set; set it to " + what);
        }
    }

    /** Reads and checks what is small before loading what is large. */
    private Outcome load() {
        List<Task> tasks = TaskFolder.read(config.data().folder(), config.data().names());
        ModelConfig modelConfig = ModelConfig.read(config.model());
        List<EncodedTask> encoded;
        try (var tokenizer = TextTokenizer.load(config.model())) {
            encoded = encode(tokenizer, modelConfig, tasks);
        }
        listener.prepared(tasks, encoded);
        var compute = config.compute();
        try (var device = Device.open(new DeviceOptions(compute.backend(), compute.threads()))) {
            listener.opened(device.info());
            LoraLayout layout = layout(modelConfig);
            MemoryEstimate memory = TrainingMemory.requireFits(config, modelConfig, layout, encoded, device);
            try (var model = CausalLM.load(config.model(), device, config.loadOptions(layout))) {
                Outcome outcome = train(model, encoded, memory);
                listener.trained(outcome, model);
                return outcome;
            }
        }
    }

    private LoraLayout layout(ModelConfig modelConfig) {
        Path init = config.adapter().init();
        return init == null ? new LoraLayout(modelConfig, config.adapter().lora()) : LoraAdapter.layout(init, modelConfig);
    }

    private List<EncodedTask> encode(TextTokenizer tokenizer, ModelConfig modelConfig, List<Task> tasks) {
        ExampleEncoder encoder = config.data().appendEos() ? ExampleEncoder.forTraining(tokenizer, modelConfig)
                : ExampleEncoder.forScoring(tokenizer, modelConfig);
        return EncodedTask.encode(tasks, encoder, config.data().samplesPerTask(), config.seed());
    }

    private Outcome train(CausalLM model, List<EncodedTask> tasks, MemoryEstimate memory) {
        Path init = config.adapter().init();
        try (var adapter = init == null
                ? LoraAdapter.create(model.device(), layout(model.config()), config.seed())
                : LoraAdapter.load(init, model.config(), model.device());
             Trainer trainer = switch (config.method()) {
                 case META_LORA -> new MetaLora(model, adapter, tasks, config, stop);
                 case JOINT_LORA -> new JointLora(model, adapter, tasks, config, stop);
             }) {
            listener.planned(memory, trainer.scratchBytes());
            var lora = adapter.layout().config();
            if (!model.hasRoomFor(lora, config.slots())) {
                listener.warning("adapters of rank " + lora.rank() + " in " + config.slots() + " slots have no room beside weights "
                        + "loaded for " + model.options().adapterColumns() + " columns: products take their slower form");
            }
            long metricsBytes = 0;
            long drawsBytes = 0;
            if (resumed) {
                Optional<Checkpoint> found = newestCheckpoint(trainer);
                if (found.isPresent()) {
                    requireSameData(tasks);
                    metricsBytes = found.get().metricsBytes();
                    drawsBytes = found.get().drawsBytes();
                }
            } else {
                folder.create(config);
            }
            try (var metrics = RunLog.open(folder.metrics(), metricsBytes);
                 var draws = RunLog.open(folder.draws(), drawsBytes)) {
                folder.removeLeftovers();
                if (drawsBytes == 0) {
                    tasks.forEach(task -> draws.append(RunLines.subset(task)));
                }
                boolean interrupted = iterate(trainer, metrics, draws);
                adapter.save(folder.adapter(), config.model().toString());
                return new Outcome(folder, trainer.done(), trainer.total(), interrupted);
            }
        }
    }

    /** Runs to the end or to the stop. Returns whether it was stopped. */
    private boolean iterate(Trainer trainer, RunLog metrics, RunLog draws) {
        listener.started(trainer.done(), trainer.total());
        long saved = trainer.done();
        boolean interrupted = false;
        while (!interrupted && trainer.done() < trainer.total()) {
            try {
                IterationReport report = trainer.iterate();
                draws.append(RunLines.draws(report.iteration(), report.draws()));
                metrics.append(RunLines.metrics(report));
                listener.iteration(report, trainer.total());
            } catch (CancellationException e) {
                interrupted = true;
            }
            boolean due = trainer.done() % config.compute().checkpointEvery() == 0 || trainer.done() == trainer.total();
            if ((due || interrupted) && trainer.done() > saved) {
                var checkpoint = new Checkpoint(trainer.state(), metrics.force(), draws.force());
                listener.checkpoint(checkpoint.write(folder.checkpoints()));
                saved = trainer.done();
            }
        }
        return interrupted;
    }

    /**
     * Restores the newest checkpoint that is whole; without any the run begins again.
     *
     * @throws InputException if there are checkpoints, but none to go on from: beginning again would cut the logs
     */
    private Optional<Checkpoint> newestCheckpoint(Trainer trainer) {
        List<Path> files = Checkpoint.list(folder.checkpoints());
        for (Path file : files) {
            try {
                Checkpoint checkpoint = Checkpoint.read(file);
                requireLength(folder.metrics(), checkpoint.metricsBytes());
                requireLength(folder.draws(), checkpoint.drawsBytes());
                trainer.restore(checkpoint.state());
                return Optional.of(checkpoint);
            } catch (InputException e) {
                listener.warning("passing over a checkpoint: " + e.getMessage());
            }
        }
        if (!files.isEmpty()) {
            throw new InputException(folder.checkpoints() + ": none of the " + files.size() + " checkpoints can be used (the newest: "
                    + files.getFirst().getFileName() + "); nothing was changed. Restore one from a copy, or start a new run "
                    + "with another output");
        }
        return Optional.empty();
    }

    /** The run's own record of its data, at the beginning of draws.jsonl, against what was read now. */
    private void requireSameData(List<EncodedTask> tasks) {
        List<String> recorded;
        try (var lines = Files.lines(folder.draws())) {
            recorded = lines.limit(tasks.size()).toList();
        } catch (IOException e) {
            throw new InputException(folder.draws() + ": can't be read: " + e.getMessage());
        }
        for (int i = 0; i < tasks.size(); i++) {
            if (i >= recorded.size() || !recorded.get(i).equals(RunLines.subset(tasks.get(i)).toString())) {
                throw new InputException("the training examples of task " + tasks.get(i).name() + " in " + config.data().folder()
                        + " are not those that the run began with (" + folder.draws() + " line " + (i + 1)
                        + "); restore them, or start a new run with another output");
            }
        }
    }

    private static void requireLength(Path log, long bytes) {
        long there;
        try {
            there = Files.exists(log) ? Files.size(log) : 0;
        } catch (IOException e) {
            throw new InputException(log + ": can't be read: " + e.getMessage());
        }
        if (there < bytes) {
            throw new InputException(log + ": has " + there + " bytes, but had " + bytes + " when the checkpoint was written");
        }
    }
}
