package io.metalora.launcher;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.Method;
import io.metalora.config.Protocol.Arm;
import io.metalora.config.Protocol.FineTune;
import io.metalora.config.Protocol.Row;
import io.metalora.config.Protocol.Trial;
import io.metalora.config.Protocol;
import io.metalora.config.Schedule;
import io.metalora.config.TrainConfig;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.file.AtomicFile;
import io.metalora.file.Sha256;
import io.metalora.launcher.CompareCell.Cost;
import io.metalora.launcher.report.RunRecord;
import io.metalora.io.ModelConfig;
import io.metalora.model.LoadOptions;
import io.metalora.model.LoadedModel;
import io.metalora.run.RunFolder;
import io.metalora.run.TrainListener;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.run.TrainingRun;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceInfo;
import io.metalora.runtime.InputException;
import io.metalora.runtime.NotFiniteException;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.host.SystemMemory;
import io.metalora.random.CounterRandom;
import io.metalora.task.EncodedTask;
import io.metalora.task.Example;
import io.metalora.task.Task;
import io.metalora.train.FineTuning;
import io.metalora.text.TextTokenizer;
import io.metalora.train.MetaLora;
import io.metalora.train.SeparateLora;
import io.metalora.train.TrainingDivergedException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;
import java.util.function.BiFunction;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import picocli.CommandLine.Model.CommandSpec;

/**
 * Runs the cells of a comparison that are not there yet: first every trial of every arm on dev splits, then, with the settings
 * chosen by these, every arm with every seed on test splits, which are read by nothing before.
 */
final class CompareRun {

    private static final String COST = "cost.json";
    private static final String CHECKPOINTS = "checkpoints";
    private static final int NAME_BYTES = 8;

    /**
     * What is run at once.
     *
     * @param trial its place in the arm's grid
     * @param rows  what is answered
     */
    record Cell(Arm arm, int trial, long seed, Split split, List<Row> rows) {

        Trial settings() {
            return arm.grid().get(trial);
        }

        CompareCell.Of of() {
            return new CompareCell.Of(arm.name(), seed, settings().varied());
        }
    }

    private final CommandSpec spec;
    private final Protocol protocol;
    private final Path model;
    private final CompareTasks tasks;
    private final CompareFolder folder;
    private final DeviceChoice device;
    private final BooleanSupplier stop;
    private final Map<Cell, CompareCell> done = new LinkedHashMap<>();

    CompareRun(CommandSpec spec, Protocol protocol, Path model, CompareTasks tasks, CompareFolder folder, DeviceChoice device,
               BooleanSupplier stop) {
        this.spec = spec;
        this.protocol = protocol;
        this.model = model;
        this.tasks = tasks;
        this.folder = folder;
        this.device = device;
        this.stop = stop;
    }

    // ---- what there is to do

    /** The trials, by arm, with every tuning seed; none where there is one alone. */
    List<Cell> trials() {
        return protocol.arms().values().stream().filter(Arm::hasTrials)
                .flatMap(arm -> IntStream.range(0, arm.grid().size()).boxed().flatMap(i -> trial(arm, i))).toList();
    }

    private Stream<Cell> trial(Arm arm, int trial) {
        return protocol.tuningSeeds().stream().map(seed -> new Cell(arm, trial, seed, Split.DEV, List.of(arm.chosenBy())));
    }

    /** Accuracy on dev with each tuning seed, shares of 1; not a number where it diverged. */
    List<Double> judged(Arm arm, int trial) {
        return trial(arm, trial).map(cell -> done.get(cell).accuracy(arm.chosenBy())).toList();
    }

    /** A trial with several seeds counts by its mean; it diverged where it did with one of them. */
    static double mean(List<Double> accuracies) {
        return accuracies.stream().mapToDouble(Double::doubleValue).average().orElse(Double.NaN);
    }

    /** The cells whose results are reported, each arm with the trial at its place in {@code chosen}. */
    List<Cell> reported(Map<String, Integer> chosen) {
        return protocol.seeds().stream().flatMap(seed -> protocol.arms().values().stream()
                // The base model answers the same with every seed.
                .filter(arm -> arm.isTuned() || arm.shots() > 0 || seed.equals(protocol.seeds().getFirst()))
                .map(arm -> new Cell(arm, chosen.get(arm.name()), seed, Split.TEST, arm.rows()))).toList();
    }

    /** For each arm the trial of the highest accuracy on dev, the first of equals; one that diverged only where all did. */
    Map<String, Integer> chosen() {
        var chosen = new LinkedHashMap<String, Integer>();
        for (Arm arm : protocol.arms().values()) {
            int best = 0;
            double highest = Double.NEGATIVE_INFINITY;
            for (int trial = 0; arm.hasTrials() && trial < arm.grid().size(); trial++) {
                double accuracy = mean(judged(arm, trial));
                if (accuracy > highest) {
                    highest = accuracy;
                    best = trial;
                }
            }
            chosen.put(arm.name(), best);
        }
        return chosen;
    }

    private Path file(Cell cell) {
        String seed = "seed-" + cell.seed();
        String trial = "trial-" + (cell.trial() + 1) + (protocol.tuningSeeds().size() > 1 ? "-" + seed : "");
        return folder.cell(cell.arm().name(), cell.split() == Split.DEV ? trial : seed);
    }

    /** Every cell that is done. */
    Map<Cell, CompareCell> done() {
        return done;
    }

    /** How the model is to be loaded for every arm. */
    LoadOptions loadOptions(ModelConfig config) {
        // The same for all arms.
        LoadOptions options = new LoadOptions(protocol.arms().values().iterator().next().grid().getFirst().config().compute().weights());
        int most = Math.max(tasks.trained().size(), Math.max(tasks.unseen().size(), tasks.tuning().size()));
        for (Arm arm : protocol.arms().values()) {
            for (Trial trial : arm.grid()) {
                AdapterLayout layout = trial.config().adapter().layout(config);
                int slots = Math.max(arm.train() ? trial.config().slots(tasks.trained().size()) : 1,
                        arm.adapt().isPresent() ? SeparateLora.groupSize(layout, most) : 1);
                LoadOptions with = options.withRoomFor(layout, slots);
                options = with.adapterColumns() > options.adapterColumns() ? with : options;
            }
        }
        return options;
    }

    /** The items of a row. */
    List<TaskItems> items(Row row, Split split) {
        int most = split == Split.DEV ? protocol.tasks().devItems() : protocol.tasks().testItems();
        return tasks.on(row.on(), split).stream().map(task -> TaskItems.of(task, split, most)).toList();
    }

    // ---- doing it

    /**
     * Runs what is not done yet.
     *
     * @throws CancellationException once a stop is asked for; what is finished, and the state of the training at work, is kept
     */
    void run(LoadedModel loaded) {
        List<Cell> trials = trials();
        trials.forEach(this::recall);
        // What is reported costs the same whichever trial is chosen, nearly.
        var first = protocol.arms().keySet().stream().collect(Collectors.toMap(name -> name, name -> 0));
        var plan = new Plan();
        trials.forEach(plan::add);
        reported(first).forEach(plan::add);
        try (var progress = Progress.of(spec, "compare", plan.stages())) {
            int stage = 0;
            for (Cell cell : trials) {
                stage = run(cell, loaded, progress, stage);
            }
            List<Cell> reported = reported(chosen());
            reported.forEach(this::recall);
            var now = new Plan();
            trials.forEach(now::add);
            reported.forEach(now::add);
            progress.plan(now.stages());
            stage = trials.stream().mapToInt(cell -> stagesOf(cell)).sum();
            for (Cell cell : reported) {
                stage = run(cell, loaded, progress, stage);
            }
        }
    }

    private void recall(Cell cell) {
        CompareFolder.read(file(cell)).flatMap(json -> CompareCell.of(json, cell.of(), itemsOf(cell)))
                .ifPresent(result -> done.put(cell, result));
    }

    private Map<Row, List<TaskItems>> itemsOf(Cell cell) {
        var items = new LinkedHashMap<Row, List<TaskItems>>();
        cell.rows().forEach(row -> items.put(row, items(row, cell.split())));
        return items;
    }

    /** Returns the stage after it. */
    private int run(Cell cell, LoadedModel loaded, Progress progress, int stage) {
        int after = stage + stagesOf(cell);
        if (done.containsKey(cell)) {
            return after;
        }
        if (stop.getAsBoolean()) {
            throw new CancellationException("stopped on request");
        }
        boolean known = SystemMemory.resetPeak();
        CompareCell result = answer(cell, loaded, progress, stage);
        result = result.computed(device(loaded), known ? SystemMemory.peak() : OptionalLong.empty());
        CompareFolder.write(file(cell), result.json(cell.of()));
        done.put(cell, result);
        return after;
    }

    private static String device(LoadedModel loaded) {
        DeviceInfo info = loaded.device().info();
        if (info.backend() != Backend.CPU) {
            return info.deviceName();
        }
        String arithmetic = loaded.device().multipliesInBf16() ? ", bf16 arithmetic" : "";
        return "cpu, " + info.isa() + ", " + info.threads() + " threads" + arithmetic;
    }

    private CompareCell answer(Cell cell, LoadedModel loaded, Progress progress, int stage) {
        Arm arm = cell.arm();
        Optional<Path> run = arm.train() ? Optional.of(folder.run(runName(cell))) : Optional.empty();
        if (run.isPresent()) {
            train(cell, run.get(), loaded, progress, stage);
        }
        Optional<ObjectNode> cost = run.flatMap(CompareRun::cost);
        Cost training = cost.map(Cost::of).orElse(Cost.NONE);
        Optional<String> diverged = cost.flatMap(CompareCell::divergedIn);
        if (diverged.isPresent()) {
            return CompareCell.diverged(training, diverged.get());
        }
        var rows = new LinkedHashMap<Row, CompareCell.Answers>();
        boolean ofEachTask = run.isPresent() && cell.settings().config().method().givesEachTaskAnAdapter();
        try (LoraAdapter adapter = ofEachTask ? null : run.isPresent()
                ? loaded.loadAdapter(RunFolder.existing(run.get()).adapter())
                : arm.adapt().isEmpty() ? null : LoraAdapter.create(loaded.device(), layout(cell, loaded), cell.seed())) {
            int next = stage + (arm.train() ? 1 : 0);
            for (Row row : cell.rows()) {
                rows.put(row, ofEachTask ? own(cell, row, run.get(), loaded, progress, next)
                        : arm.adapt().isPresent() ? adapted(cell, row, adapter, loaded, progress, next)
                        : asItIs(cell, row, adapter, loaded, progress, next));
                next++;
            }
        } catch (TrainingDivergedException e) {
            return CompareCell.diverged(training, e.getMessage());
        } catch (NotFiniteException e) {
            if (run.isEmpty()) {
                throw e;
            }
            // A trained adapter so large that what it computes is not finite: its training's failure, not the input's.
            return CompareCell.diverged(training, e.getMessage());
        }
        return new CompareCell(rows, training, OptionalLong.empty(), Optional.empty(), "");
    }

    private static AdapterLayout layout(Cell cell, LoadedModel loaded) {
        return cell.settings().config().adapter().layout(loaded.model().config());
    }

    // ---- training

    /** Arms of the same settings share the training with the same seed, and with what is measured along it. */
    private static String runName(Cell cell) {
        String settings = cell.settings().train().toString() + " seed " + cell.seed()
                + (track(cell) > 0 ? " track " + track(cell) : "");
        return HexFormat.of().formatHex(Sha256.digest().digest(settings.getBytes(StandardCharsets.UTF_8)), 0, NAME_BYTES);
    }

    /** Trials are judged by what they come to alone. */
    private static int track(Cell cell) {
        return cell.split() == Split.TEST ? cell.arm().track() : 0;
    }

    private List<TaskItems> trackItems() {
        int asked = protocol.tasks().devItems();
        int most = asked == 0 ? CompareTrack.MOST_ITEMS : Math.min(CompareTrack.MOST_ITEMS, asked);
        return tasks.trained().stream().map(task -> TaskItems.of(task, Split.DEV, most)).toList();
    }

    private void train(Cell cell, Path run, LoadedModel loaded, Progress progress, int stage) {
        if (cost(run).isPresent()) {
            discardCheckpoints(run);
            return;
        }
        if (Files.exists(run.resolve(RunFolder.CONFIG)) && !Files.exists(run.resolve(CHECKPOINTS))) {
            AtomicFile.delete(run); // nothing to go on from: it had hardly begun, or what said that it had ended is damaged
        }
        Optional<CompareTrack> track = track(cell) == 0 ? Optional.empty()
                : Optional.of(new CompareTrack(track(cell), trackItems(), run, stop));
        var listener = new TrainProgress(spec, stageName(cell), progress, stage) {
            @Override
            public void trainedSoFar(long iteration, long total, LoadedModel model, LoraAdapter adapter) {
                track.ifPresent(of -> of.measure(iteration, total, model, adapter));
            }
        };
        String diverged = null;
        try {
            Outcome outcome = Files.exists(run.resolve(RunFolder.CONFIG)) ? resume(run, loaded, listener)
                    : TrainingRun.start(config(cell, run), loaded, tasks.trained(), listener, stop);
            if (outcome.interrupted()) {
                throw new CancellationException("stopped on request");
            }
        } catch (TrainingDivergedException e) {
            diverged = e.getMessage();
        }
        RunFolder files = RunFolder.existing(run);
        RunRecord record = RunRecord.read(files.metrics(), files.draws());
        ObjectNode json = new Cost(record.iterations(), record.tokens(), record.seconds(),
                track.map(of -> of.points(record)).orElse(List.of())).put(JsonNodeFactory.instance.objectNode());
        if (diverged != null) {
            json.put("diverged", diverged);
        }
        CompareFolder.write(run.resolve(COST), json);
        discardCheckpoints(run);
    }

    private Outcome resume(Path run, LoadedModel loaded, TrainListener listener) {
        try {
            return TrainingRun.resume(run, loaded, tasks.trained(), listener, stop);
        } catch (InputException e) {
            throw new InputException(e.getMessage() + "; or remove " + run + ": the same command trains it again", e);
        }
    }

    /** What a finished training took; empty if it is not finished, or what says so is damaged. */
    private static Optional<ObjectNode> cost(Path run) {
        return CompareFolder.read(run.resolve(COST))
                .filter(json -> json.path("iterations").isIntegralNumber() && Cost.of(json).isPossible())
                .filter(json -> !json.has("diverged") || CompareCell.divergedIn(json).isPresent());
    }

    /** Of use to nobody now, and the largest part of the run. */
    private static void discardCheckpoints(Path run) {
        AtomicFile.delete(run.resolve(CHECKPOINTS));
    }

    private TrainConfig config(Cell cell, Path run) {
        return cell.settings().config().with("model=" + model.toAbsolutePath(), "data.folder=" + tasks.folder().orElse(folder.path().resolve("tasks")).toAbsolutePath(),
                "output=" + run.toAbsolutePath(), "seed=" + cell.seed()).with(device.settings());
    }

    // ---- answering

    private CompareCell.Answers asItIs(Cell cell, Row row, LoraAdapter adapter, LoadedModel loaded, Progress progress, int stage) {
        List<TaskItems> items = cell.arm().shots() == 0 ? items(row, cell.split()) : withShots(cell, row);
        try (var log = EvaluationLog.inMemory(items)) {
            new RunEvaluation(loaded, log, progress, stop).shared(cell.arm().name(), adapter, stage);
            return new CompareCell.Answers(log.results(cell.arm().name()), 0, 0);
        }
    }

    /** Each task by the adapter that training gave it. */
    private CompareCell.Answers own(Cell cell, Row row, Path run, LoadedModel loaded, Progress progress, int stage) {
        List<TaskItems> items = items(row, cell.split());
        Path folders = RunFolder.existing(run).adapters();
        try (var adapters = new Held(); var log = EvaluationLog.inMemory(items)) {
            var byTask = new LinkedHashMap<String, LoraAdapter>();
            items.forEach(task -> byTask.put(task.task(), adapters.add(() -> loaded.loadAdapter(folders.resolve(task.task())),
                    LoraAdapter::close)));
            new RunEvaluation(loaded, log, progress, stop).own(cell.arm().name(), byTask, stage);
            return new CompareCell.Answers(log.results(cell.arm().name()), 0, 0);
        }
    }

    /** The items with training samples of their task in front of each prompt, chosen by the seed as those of trainings are. */
    private List<TaskItems> withShots(Cell cell, Row row) {
        int most = cell.split() == Split.DEV ? protocol.tasks().devItems() : protocol.tasks().testItems();
        return shotTasks(cell, row).stream().map(task -> TaskItems.of(task, cell.split(), most)).toList();
    }

    /** The tasks of a row of an arm with shots, as they are asked. */
    List<Task> shotTasks(Cell cell, Row row) {
        return tasks.on(row.on(), cell.split()).stream().map(task -> withShots(task, cell.arm().shots(), cell.seed(), cell.split())).toList();
    }

    private static Task withShots(Task task, int shots, long seed, Split split) {
        int[] chosen = new CounterRandom(seed, CounterRandom.Purpose.SUBSET, 0, task.name()).distinct(shots, task.train().size());
        String before = Arrays.stream(chosen).mapToObj(task.train()::get).map(example -> example.prompt() + example.completion() + "\n\n")
                .collect(Collectors.joining());
        return split.with(task, split.of(task).stream().map(example -> new Example(before + example.prompt(), example.completion(), example.source()))
                .toList());
    }

    private CompareCell.Answers adapted(Cell cell, Row row, LoraAdapter start, LoadedModel loaded, Progress progress, int stage) {
        List<TaskItems> items = items(row, cell.split());
        List<EncodedTask> samples = encoded(tasks.on(row.on(), cell.split()), cell, row.samples(), loaded.tokenizer(), loaded.model().config());
        progress.begin(stage, 0);
        var tuned = new FineTunedTasks(loaded, fineTuning(cell), progress, stop);
        try (var log = EvaluationLog.inMemory(items)) {
            tuned.run(cell.arm().name(), start, samples, log, (task, adapter) -> { });
            if (!tuned.failures().isEmpty()) {
                throw new TrainingDivergedException(row + ": adapting diverged (NaN or infinity): " + tuned.failures());
            }
            return new CompareCell.Answers(log.results(cell.arm().name()), tuned.tokens(), tuned.seconds());
        }
    }

    /** As a training of the cell's settings would see them. */
    private static List<EncodedTask> encoded(List<Task> of, Cell cell, int samples, TextTokenizer tokenizer, ModelConfig model) {
        TrainConfig config = cell.settings().config();
        return EncodedTask.encode(of, config.encoder(tokenizer, model), samples, cell.seed(), config.data().overLength());
    }

    /**
     * Checks every trial of every arm against the tasks and the device, before any of them runs.
     *
     * @throws InputException if a training could not begin, naming the arm and the trial
     */
    void requireTrainable(TextTokenizer tokenizer, ModelConfig model, Device opened) {
        var known = new HashMap<Encoding, List<EncodedTask>>();
        for (Arm arm : protocol.arms().values()) {
            for (int i = 0; i < arm.grid().size(); i++) {
                var cell = new Cell(arm, i, protocol.tuningSeeds().getFirst(), Split.DEV, List.of(arm.chosenBy()));
                try {
                    requireTrainable(cell, model, opened, (of, samples) -> known.computeIfAbsent(Encoding.of(of, samples, cell.settings().config()),
                            key -> encoded(of, cell, samples, tokenizer, model)));
                } catch (InputException e) {
                    throw new InputException("arms." + arm.name() + ", trial " + (i + 1) + ": " + e.getMessage(), e);
                }
            }
        }
    }

    /** What the encoding of tasks depends on, within a comparison: many trials share one. */
    private record Encoding(List<String> tasks, int samples, TrainConfig.Data data, int tokenBudget) {

        static Encoding of(List<Task> tasks, int samples, TrainConfig config) {
            return new Encoding(tasks.stream().map(Task::name).toList(), samples, config.data(), config.compute().tokenBudget());
        }
    }

    private void requireTrainable(Cell cell, ModelConfig model, Device opened, BiFunction<List<Task>, Integer, List<EncodedTask>> encoded) {
        TrainConfig config = cell.settings().config().with(device.settings());
        AdapterLayout layout = config.adapter().layout(model);
        if (cell.arm().train()) {
            List<EncodedTask> trained = encoded.apply(tasks.trained(), config.data().samplesPerTask());
            if (config.method() == Method.META_LORA) {
                MetaLora.requireEnough(trained, config);
                MetaLora.requireModules(layout, config);
                MetaLora.requireArithmetic(config, opened);
            }
        }
        if (cell.arm().adapt().isPresent()) {
            for (Protocol.On on : cell.arm().on()) {
                encoded.apply(tasks.on(on, Split.TEST), 0);
                encoded.apply(tasks.on(on, Split.DEV), 0);
            }
        }
    }

    private FineTuning fineTuning(Cell cell) {
        FineTune how = cell.settings().adapt();
        var rule = TrainConfig.DEFAULTS.optimizer();
        return new FineTuning(how.steps(), how.epochs(), how.batchSize(), how.optimizer(), how.adapts(), new TrainConfig.Optimizer(how.lr(),
                rule.beta1(), rule.beta2(), rule.eps(), 0, 1, Schedule.COSINE, 0, 0, 0), cell.seed(), cell.settings().config().compute().tokenBudget());
    }

    // ---- stages of the progress

    private static int stagesOf(Cell cell) {
        return (cell.arm().train() ? 1 : 0) + cell.rows().size();
    }

    private String stageName(Cell cell) {
        return cell.arm().name() + ", " + (cell.split() == Split.DEV ? "trial " + (cell.trial() + 1) + " of " + cell.arm().grid().size()
                + (protocol.tuningSeeds().size() > 1 ? ", seed " + cell.seed() : "") : "seed " + cell.seed());
    }

    /** The stages of cells, in their order; what is done already costs nothing. Characters stand for tokens: only the ratios matter. */
    private final class Plan {

        private final List<Progress.Stage> stages = new ArrayList<>();
        private final HashSet<String> trained = new HashSet<>();

        List<Progress.Stage> stages() {
            return stages;
        }

        void add(Cell cell) {
            boolean isDone = done.containsKey(cell);
            String name = stageName(cell);
            if (cell.arm().train()) {
                TrainConfig config = cell.settings().config();
                int most = config.data().samplesPerTask();
                List<Integer> counts = tasks.trained().stream().map(task -> most == 0 ? task.train().size() : Math.min(most, task.train().size()))
                        .toList();
                boolean isTrained = isDone | !trained.add(runName(cell)) | cost(folder.run(runName(cell))).isPresent();
                double work = isTrained ? 0 : Work.training(config, counts.stream().mapToLong(Integer::longValue).sum(), length(tasks.trained()));
                stages.add(new Progress.Stage(name + ", training", "iterations", Work.iterations(config, counts), work));
            }
            for (Row row : cell.rows()) {
                List<TaskItems> items = items(row, cell.split());
                String what = name + ", " + row.on() + (row.samples() < 0 ? "" : " on " + (row.samples() == 0 ? "all" : row.samples()));
                if (cell.arm().adapt().isEmpty()) {
                    var stage = RunEvaluation.sharedStage(what, items, 1 + cell.arm().shots());
                    stages.add(isDone ? new Progress.Stage(what, stage.unit(), stage.total(), 0) : stage);
                } else {
                    double all = adaptation(cell, row) + Work.answers(items, 1);
                    stages.add(new Progress.Stage(what, "tokens' worth", all, isDone ? 0 : all));
                }
            }
        }

        private double adaptation(Cell cell, Row row) {
            FineTuning how = fineTuning(cell);
            List<Task> of = tasks.on(row.on(), cell.split());
            return Work.TRAINED * length(of) * of.stream().mapToDouble(task -> {
                int samples = row.samples() == 0 ? task.train().size() : row.samples();
                return how.stepsFor(samples) * (double) Math.min(how.batchSize(), samples);
            }).sum();
        }

        private static double length(List<Task> of) {
            return of.stream().flatMap(task -> task.train().stream()).mapToInt(e -> e.prompt().length() + e.completion().length()).average().orElse(1);
        }
    }
}
