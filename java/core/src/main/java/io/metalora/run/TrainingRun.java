package io.metalora.run;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.Method;
import io.metalora.config.TaskSource;
import io.metalora.config.TrainConfig;
import io.metalora.file.AtomicFile;
import io.metalora.file.Folders;
import io.metalora.file.RegularFile;
import io.metalora.io.ModelConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadedModel;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.ModelFingerprint;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.Held;
import io.metalora.task.EncodedTask;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import io.metalora.train.AsymmetricLora;
import io.metalora.train.FineTuning;
import io.metalora.train.IterationReport;
import io.metalora.train.JointLora;
import io.metalora.train.MetaLora;
import io.metalora.train.SeparateLora;
import io.metalora.train.TaskTrainer;
import io.metalora.train.Trainer;
import io.metalora.train.TrainingDivergedException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;

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
     * @param interrupted whether it stopped on request; {@link #resume} then continues it
     * @param diverged    of method separate-lora: tasks that diverged (NaN or infinity), and how; they have no adapter
     * @param innerRates  of stage 1, as {@code meta.inner_rates} takes them, where they were learned; else empty
     */
    public record Outcome(RunFolder folder, long done, long total, boolean interrupted, Map<String, String> diverged,
            List<String> innerRates) {

        public Outcome {
            diverged = Collections.unmodifiableMap(new LinkedHashMap<>(diverged));
            innerRates = List.copyOf(innerRates);
        }

        private Outcome diverged(Map<String, String> failures) {
            return new Outcome(folder, done, total, interrupted, failures, innerRates);
        }
    }

    /** Of a state: a Java array holds no more. */
    private static final long MOST_PARAMETERS = Integer.MAX_VALUE - 8;

    private final TrainConfig config;
    private final RunFolder folder;
    private final boolean resumed;
    private final boolean allowChangedModel;
    private final TrainListener listener;
    private final BooleanSupplier stop;

    private TrainingRun(TrainConfig config, RunFolder folder, boolean resumed, boolean allowChangedModel, TrainListener listener,
                        BooleanSupplier stop) {
        this.config = config;
        this.folder = folder;
        this.resumed = resumed;
        this.allowChangedModel = allowChangedModel;
        this.listener = listener;
        this.stop = stop;
    }

    /**
     * Starts a run in {@code config.output()}, which must not hold one.
     *
     * @param stop asked before every pass through the model; once true, a checkpoint is written and the run ends
     * @throws InputException            if a setting, a file or an example is bad, or another training came first; nothing has
     *                                   been written then, unless weights of the model turn out not to be finite, which only the
     *                                   first iteration shows
     * @throws TrainingDivergedException if training diverged (NaN or infinity); the last good state is kept
     * @throws UncheckedIOException      if a file of the run can't be written, naming it; what was written before is whole
     */
    public static Outcome start(TrainConfig config, TrainListener listener, BooleanSupplier stop) {
        return begin(config, listener, stop).load();
    }

    /**
     * As {@link #start(TrainConfig, TrainListener, BooleanSupplier)} on a loaded model and given tasks, for several runs on
     * one model. Such a run resumes only if {@code config.model()} and {@code config.data().folder()} name the same.
     */
    public static Outcome start(TrainConfig config, LoadedModel loaded, List<Task> tasks, TrainListener listener, BooleanSupplier stop) {
        return begin(config, listener, stop).runOn(loaded, tasks);
    }

    /** Resumes a run that was started on a loaded model and given tasks; the same ones must be given. */
    public static Outcome resume(Path run, LoadedModel loaded, List<Task> tasks, TrainListener listener, BooleanSupplier stop) {
        RunFolder folder = RunFolder.existing(Folders.absolute(run));
        try (var _ = folder.lock()) {
            return new TrainingRun(folder.config(), folder, true, false, listener, stop).runOn(loaded, tasks);
        }
    }

    private Outcome runOn(LoadedModel loaded, List<Task> tasks) {
        ModelFingerprint fingerprint = ModelFingerprint.of(config.model());
        Optional<RunStart> before = requireSameStart(fingerprint);
        CausalLM model = loaded.model();
        List<EncodedTask> encoded = encode(loaded.tokenizer(), model.config(), tasks);
        Replay replay = replay(encoded);
        AdapterLayout layout = layout(model.config());
        ResumePoint point = resumePoint(before, fingerprint, encoded, layout);
        listener.prepared(tasks, encoded, loaded.tokenizer(), model.config(), fingerprint);
        RunStart now = RunStart.of(fingerprint, config, loaded.device());
        before.ifPresent(start -> warnOfOtherCompute(start, now));
        return run(loaded, encoded, replay, Trainer.estimate(config, model.config(), model.options(), layout, encoded, loaded.device()),
                now, point);
    }

    private static TrainingRun begin(TrainConfig config, TrainListener listener, BooleanSupplier stop) {
        TrainConfig absolute = requirePaths(config).absolute();
        RunFolder.requireApart(absolute.output(), absolute.data().folder(), "give another output folder");
        return new TrainingRun(absolute, RunFolder.unused(absolute.output()), false, false, listener, stop);
    }

    /** Resumes the run in a folder, by its own config. */
    public static Outcome resume(Path run, TrainListener listener, BooleanSupplier stop) {
        return resume(run, null, false, listener, stop);
    }

    /**
     * Resumes the run in a folder, with a config given again.
     *
     * @param given             nullable: its section compute counts, all else must be as the run began (but for {@code output})
     * @param allowChangedModel resume though the base model is not what it was when the run began
     * @throws InputException       if the config differs, naming the keys; if the base model or the examples have changed, or
     *                              another training is at work in the folder. Nothing was changed then
     * @throws UncheckedIOException if a file of the run can't be written, naming it; what was written before is whole
     */
    public static Outcome resume(Path run, TrainConfig given, boolean allowChangedModel, TrainListener listener, BooleanSupplier stop) {
        RunFolder folder = RunFolder.existing(Folders.absolute(run));
        try (var _ = folder.lock()) {
            TrainConfig config = given == null ? folder.config() : sameSettings(folder, given.absolute());
            return new TrainingRun(config, folder, true, allowChangedModel, listener, stop).load();
        }
    }

    private static TrainConfig sameSettings(RunFolder folder, TrainConfig given) {
        List<String> changes = RunStart.changes(folder.config(), given);
        if (!changes.isEmpty()) {
            throw new InputException(folder.path() + ": the run was started with other settings: " + String.join("; ", changes)
                    + "; resume it without a config, or start a new run in another output folder");
        }
        return given;
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
        ModelFingerprint fingerprint = ModelFingerprint.of(config.model());
        Optional<RunStart> before = requireSameStart(fingerprint);
        List<Task> tasks = config.data().split().of(
                TaskSource.read(config.data().folder(), config.data().names(), config.readOptions()));
        ModelConfig modelConfig = ModelConfig.read(config.model());
        try (var tokenizer = TextTokenizer.load(config.model())) {
            List<EncodedTask> encoded = encode(tokenizer, modelConfig, tasks);
            Replay replay = replay(encoded);
            AdapterLayout layout = layout(modelConfig);
            parameters(layout, encoded);
            ResumePoint point = resumePoint(before, fingerprint, encoded, layout);
            listener.prepared(tasks, encoded, tokenizer, modelConfig, fingerprint);
            var compute = config.compute();
            int processors = Runtime.getRuntime().availableProcessors();
            if (compute.threads() > 2 * processors) {
                listener.warning("compute.threads is " + compute.threads() + ", but there are " + processors
                        + " processors here: so many threads wait for each other most of the time");
            }
            try (var device = Device.open(compute.device())) {
                listener.opened(device.info());
                RunStart now = RunStart.of(fingerprint, config, device);
                before.ifPresent(start -> warnOfOtherCompute(start, now));
                MemoryEstimate memory = TrainingMemory.requireFits(config, modelConfig, layout, encoded, device);
                try (var loaded = LoadedModel.load(config.model(), device, tokenizer, config.loadOptions(layout, encoded.size()))) {
                    return run(loaded, encoded, replay, memory, now, point);
                }
            }
        }
    }

    /** Where a run that is resumed continues; null for a new one. */
    private ResumePoint resumePoint(Optional<RunStart> before, ModelFingerprint fingerprint, List<EncodedTask> encoded, AdapterLayout layout) {
        if (!resumed) {
            return null;
        }
        requireAdaptersCanBeWritten(encoded);
        var point = ResumePoint.find(folder, parameters(layout, encoded), folder.config().compute().checkpointEvery(), listener::warning);
        point.requireSameData(folder, encoded, config.data().folder(), before.map(start -> start.model().encodesAs(fingerprint)).orElse(true));
        return point;
    }

    // ---- what a resumed run began with

    /** What the run began with, as far as it is one that is resumed and that was recorded. */
    private Optional<RunStart> requireSameStart(ModelFingerprint fingerprint) {
        Optional<RunStart> before = resumed ? startOf() : Optional.empty();
        before.ifPresent(start -> {
            requireSameModel(start.model(), fingerprint);
            requireSameSettings(start);
            requireSameInitialAdapter(start);
            requireSameReplay(start);
        });
        return before;
    }

    private Optional<RunStart> startOf() {
        Optional<RunStart> start;
        try {
            start = folder.start();
        } catch (InputException e) {
            if (!allowChangedModel) {
                throw new InputException(e.getMessage() + ". It records what the run began with: restore it from a copy, or continue without it "
                        + "by --allow-changed-model", e);
            }
            listener.warning(e.getMessage());
            return Optional.empty();
        }
        if (start.isEmpty()) {
            listener.warning(folder.path() + " was made by an earlier version, which did not record what the run began with: a change of the "
                    + "base model since then can't be noticed");
        }
        return start;
    }

    private void requireSameSettings(RunStart before) {
        List<String> changes = before.settingChangesTo(config);
        if (!changes.isEmpty()) {
            throw new InputException(folder.path() + ": the run was started with other settings than those in its folder now: "
                    + String.join("; ", changes) + "; restore them, or start a new run with another output");
        }
    }

    /** Better than at the end of the training. */
    private void requireAdaptersCanBeWritten(List<EncodedTask> tasks) {
        boolean several = config.method().givesEachTaskAnAdapter();
        if (several && RegularFile.isNamed(folder.adapters()) && !Files.isDirectory(folder.adapters())) {
            throw new InputException(folder.adapters() + ": is no folder where the run has one, of its adapters; move it away; "
                    + "nothing was changed");
        }
        List<Path> targets = !several ? List.of(folder.adapter())
                : tasks.stream().map(task -> folder.adapters().resolve(task.name())).toList();
        for (Path target : targets) {
            try {
                LoraAdapter.requireTarget(target);
            } catch (InputException e) {
                throw new InputException(e.getMessage() + ". The run writes its adapter there: move away what is in " + target
                        + "; nothing was changed", e);
            }
        }
    }

    /** The state's: those of all adapters that are trained. */
    private long parameters(AdapterLayout layout, List<EncodedTask> tasks) {
        long all = config.method().givesEachTaskAnAdapter() ? MemoryEstimate.product(layout.parameters(), tasks.size())
                : layout.parameters();
        if (all > MOST_PARAMETERS) {
            throw new InputException("the adapters of " + tasks.size() + " tasks have " + all + " parameters together, more than the " + MOST_PARAMETERS
                    + " that a checkpoint holds; train them in several runs, with data.names");
        }
        return all;
    }

    /** Its alpha is a scale that every iteration uses, also those after a checkpoint. */
    private void requireSameInitialAdapter(RunStart before) {
        Path copy = folder.initialAdapter();
        if (config.adapter().init() != null && Files.exists(copy) && !before.beganFrom(copy)) {
            throw new InputException(copy + " is not the adapter that the run began from, as it was copied then; restore it from a copy, or "
                    + "start a new run with another output");
        }
    }

    private void requireSameReplay(RunStart before) {
        if (config.meta().replay() != null && !before.repeats(folder.replay())) {
            throw new InputException(folder.replay() + " does not hold the draws that the run began to repeat; restore it from a copy, or start a "
                    + "new run with another output");
        }
    }

    private void requireSameModel(ModelFingerprint before, ModelFingerprint now) {
        List<String> changes = before.changesTo(now);
        if (changes.isEmpty()) {
            return;
        }
        String changed = "the base model " + config.model() + " is not what it was when the run began: " + String.join("; ", changes);
        if (!allowChangedModel) {
            throw new InputException(changed + ". Restore it, start a new run with another output, or insist with --allow-changed-model; "
                    + "nothing was changed");
        }
        listener.warning(changed + ". Going on all the same");
    }

    private void warnOfOtherCompute(RunStart before, RunStart now) {
        List<String> changes = before.computeChangesTo(now);
        if (!changes.isEmpty()) {
            listener.warning("the run began with other compute settings (" + String.join("; ", changes) + "): it continues, but its "
                    + "results may differ by rounding from a run that never stopped");
        }
    }

    /** The adapter that training begins from, where that isn't new. A resumed run has its own copy. */
    private Path initial() {
        Path init = config.adapter().init();
        if (init == null || !resumed || Files.exists(folder.initialAdapter())) {
            return init == null || !resumed ? init : folder.initialAdapter();
        }
        if (Files.exists(folder.fingerprint())) {
            throw new InputException(folder.initialAdapter() + " is missing, which the run began from; restore it from a copy, or start a "
                    + "new run with another output");
        }
        return init; // of an earlier version, which kept no copy
    }

    private AdapterLayout layout(ModelConfig modelConfig) {
        Path init = initial();
        if (init == null) {
            return checked(config.adapter().layout(modelConfig));
        }
        AdapterLayout layout = LoraAdapter.layout(init, modelConfig);
        if (layout.kind() != config.adapter().kind()) {
            throw new InputException("adapter.init " + init + " holds a " + layout + ", but adapter.kind is "
                    + name(config.adapter().kind()) + "; set adapter.kind to " + name(layout.kind())
                    + ", or begin from another adapter");
        }
        return checked(layout);
    }

    private AdapterLayout checked(AdapterLayout layout) {
        if (config.method() == Method.META_LORA) {
            MetaLora.requireModules(layout, config);
        }
        return layout;
    }

    private static String name(AdapterKind kind) {
        return kind.name().toLowerCase(Locale.ROOT);
    }

    /** The draws that the run repeats, from its own copy once there is one; null where it draws anew. */
    private Replay replay(List<EncodedTask> tasks) {
        return config.meta().replay() == null ? null : Replay.read(resumed ? folder.replay() : config.meta().replay(), tasks, config);
    }

    private List<EncodedTask> encode(TextTokenizer tokenizer, ModelConfig modelConfig, List<Task> tasks) {
        List<EncodedTask> encoded = EncodedTask.encode(tasks, config.encoder(tokenizer, modelConfig), config.data().samplesPerTask(), config.seed(),
                config.data().overLength());
        String dropped = encoded.stream().filter(task -> task.dropped() > 0).map(task -> task.name() + " " + task.dropped())
                .collect(Collectors.joining(", "));
        if (!dropped.isEmpty()) {
            listener.warning("data.over_length: drop left out training examples that are too long, by task: " + dropped);
        }
        String truncated = encoded.stream().filter(task -> task.truncated() > 0).map(task -> task.name() + " " + task.truncated())
                .collect(Collectors.joining(", "));
        if (!truncated.isEmpty()) {
            listener.warning("data.over_length: truncate cut the prompts of training examples that are too long, by task: " + truncated);
        }
        if (config.method() == Method.META_LORA) {
            MetaLora.requireEnough(encoded, config);
        }
        return encoded;
    }

    /**
     * Trains, and passes the trained adapter to the listener; until that returns, no other training may change the folder.
     *
     * @param point of a run that is resumed; null of a new one
     */
    private Outcome run(LoadedModel loaded, List<EncodedTask> tasks, Replay replay, MemoryEstimate memory, RunStart start, ResumePoint point) {
        try (var lock = new Held(); var adapter = untrained(loaded)) {
            parameters(adapter.layout(), tasks);
            return config.method().givesEachTaskAnAdapter() ? trainApart(loaded, adapter, tasks, memory, start, point, lock)
                    : trainShared(loaded, adapter, tasks, replay, memory, start, point, lock);
        }
    }

    private Outcome trainShared(LoadedModel loaded, LoraAdapter adapter, List<EncodedTask> tasks, Replay replay, MemoryEstimate memory,
                                RunStart start, ResumePoint point, Held lock) {
        CausalLM model = loaded.model();
        Outcome outcome;
        try (Trainer trainer = replay != null ? new MetaLora(model, adapter, tasks, config, replay, stop)
                : config.method() == Method.META_LORA ? new MetaLora(model, adapter, tasks, config, stop)
                : new JointLora(model, adapter, tasks, config, stop)) {
            outcome = train(trainer, model, adapter, tasks, memory, start, point, lock, replay == null ? null : replay.digest(),
                    new Uses(() -> listener.trainedSoFar(trainer.done(), trainer.total(), loaded, adapter), () -> {
                        trainer.conclude();
                        adapter.save(folder.adapter(), config.model().toString());
                        saveInnerRates(trainer);
                    }));
        }
        listener.trained(outcome, loaded, adapter);
        return outcome;
    }

    /** The adapters of tasks that diverged stay as they were before, and are not saved; the others are worth keeping. */
    private Outcome trainApart(LoadedModel loaded, LoraAdapter first, List<EncodedTask> tasks, MemoryEstimate memory, RunStart start,
                               ResumePoint point, Held lock) {
        CausalLM model = loaded.model();
        try (TaskTrainer trainer = config.method() == Method.ASYMMETRIC_LORA
                ? new AsymmetricLora(model, first, tasks, config, stop)
                : new SeparateLora(model, first, tasks, FineTuning.of(config), stop)) {
            var uses = new Uses(() -> { }, () -> {
                trainer.conclude();
                trainer.adapters().forEach((task, adapter) -> adapter.save(folder.adapters().resolve(task), config.model().toString()));
                // Of a run that was stopped before they diverged.
                trainer.failures().keySet().forEach(task -> AtomicFile.delete(folder.adapters().resolve(task)));
            });
            Outcome outcome = train(trainer, model, first, tasks, memory, start, point, lock, null, uses).diverged(trainer.failures());
            trainer.finish();
            listener.trainedApart(outcome, loaded, trainer.adapters());
            return outcome;
        }
    }

    private LoraAdapter untrained(LoadedModel loaded) {
        Path init = initial();
        return init == null ? LoraAdapter.create(loaded.device(), layout(loaded.model().config()), config.seed()) : loaded.loadAdapter(init);
    }

    /**
     * What is done with what is trained.
     *
     * @param soFar after every iteration
     * @param save  at the end: writes it to the run's folder
     */
    private record Uses(Runnable soFar, Runnable save) {
    }

    private Outcome train(Trainer trainer, CausalLM model, LoraAdapter adapter, List<EncodedTask> tasks, MemoryEstimate memory, RunStart start,
                          ResumePoint point, Held lock, String replayed, Uses uses) {
        listener.planned(memory, trainer.scratchBytes());
        var layout = adapter.layout();
        int slots = config.slots(tasks.size());
        if (!model.hasRoomFor(layout, slots)) {
            listener.warning("adapters of " + layout.columns() + " columns in " + slots + " slots have no room beside weights "
                    + "loaded for " + model.options().adapterColumns() + " columns: products take their slower form");
        }
        if (point != null && point.checkpoint() != null) {
            trainer.restore(point.checkpoint().state());
        }
        try {
            if (!resumed) {
                lock.add(() -> folder.create(config, start, initial() == null ? null : adapter, replayed), RunLock::close);
            }
            return train(trainer, tasks, point, uses);
        } catch (UncheckedIOException e) {
            throw folder.holdsRun() ? new UncheckedIOException(e.getMessage() + "; what was saved before is whole: once the cause is removed, "
                    + "resume it with --resume " + folder.path(), e.getCause()) : e;
        }
    }

    private Outcome train(Trainer trainer, List<EncodedTask> tasks, ResumePoint point, Uses uses) {
        try (var metrics = RunLog.open(folder.metrics(), point == null ? 0 : point.metricsBytes());
             var draws = RunLog.open(folder.draws(), point == null ? 0 : point.drawsBytes())) {
            folder.repair();
            if (point == null || point.drawsBytes() == 0) {
                tasks.forEach(task -> draws.append(RunLines.subset(task)));
            }
            boolean interrupted = iterate(trainer, metrics, draws, uses.soFar());
            if (trainer.done() > 0) { // before the first there is no state to resume from, and nothing trained
                uses.save().run();
            }
            return new Outcome(folder, trainer.done(), trainer.total(), interrupted, Map.of(), innerRates(trainer));
        } catch (TrainingDivergedException e) {
            throw diverged(e, trainer.done(), uses.save());
        }
    }

    private static Map<String, Float> learnedRates(Trainer trainer) {
        return trainer instanceof MetaLora meta ? meta.learnedRates() : Map.of();
    }

    private void saveInnerRates(Trainer trainer) {
        Map<String, Float> learned = learnedRates(trainer);
        if (!learned.isEmpty()) {
            AtomicFile.write(folder.innerRates(), RunLines.innerRates(config.meta(), learned));
        }
    }

    private static List<String> innerRates(Trainer trainer) {
        return learnedRates(trainer).entrySet().stream().map(rate -> rate.getKey() + "=" + rate.getValue()).toList();
    }

    /**
     * Runs to the end or to the stop; keeps the state then, and where training diverges. What fails otherwise loses the
     * iterations since the last checkpoint. Returns whether it was stopped.
     */
    private boolean iterate(Trainer trainer, RunLog metrics, RunLog draws, Runnable soFar) {
        listener.started(trainer.done(), trainer.total());
        long saved = trainer.done();
        try {
            if (saved > 0) { // the run may have been stopped while this was at work
                soFar.run();
            }
        } catch (CancellationException e) {
            return true;
        }
        while (trainer.done() < trainer.total()) {
            try {
                IterationReport report = trainer.iterate();
                draws.append(RunLines.draws(report.iteration(), report.draws()));
                metrics.append(RunLines.metrics(report));
                listener.iteration(report, trainer.total());
                soFar.run();
            } catch (CancellationException | TrainingDivergedException e) {
                if (trainer.done() > saved) {
                    checkpoint(trainer, metrics, draws);
                }
                if (e instanceof TrainingDivergedException) {
                    throw e;
                }
                return true;
            }
            if (trainer.done() % config.compute().checkpointEvery() == 0 || trainer.done() == trainer.total()) {
                checkpoint(trainer, metrics, draws);
                saved = trainer.done();
            }
        }
        return false;
    }

    private void checkpoint(Trainer trainer, RunLog metrics, RunLog draws) {
        var checkpoint = new Checkpoint(trainer.state(), metrics.force(), draws.force());
        listener.checkpoint(checkpoint.write(folder.checkpoints()));
    }

    /** Keeps the adapter of the last whole iteration, and says how to continue. */
    private TrainingDivergedException diverged(TrainingDivergedException e, long done, Runnable save) {
        if (done == 0) {
            return new TrainingDivergedException(e.getMessage() + ". No iteration was done; start again with another output", e);
        }
        save.run();
        if (config.method().givesEachTaskAnAdapter()) {
            return new TrainingDivergedException(e.getMessage() + ". The adapters and the checkpoint of iteration " + done
                    + " are kept in " + folder.path() + ". Start a run with other settings and another output; --resume would do "
                    + "the same again", e);
        }
        return new TrainingDivergedException(e.getMessage() + ". The adapter and the checkpoint of iteration " + done + " are kept in "
                + folder.path() + ". To continue from there, start a run with other settings, another output and adapter.init="
                + folder.adapter() + "; --resume would do the same again", e);
    }
}
