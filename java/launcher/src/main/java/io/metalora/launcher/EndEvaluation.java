package io.metalora.launcher;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.Method;
import io.metalora.config.TrainConfig;
import io.metalora.eval.Comparison;
import io.metalora.eval.EvaluationLog.Settings;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.HeadUse;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.file.AtomicFile;
import io.metalora.file.Shown;
import io.metalora.io.ModelConfig;
import io.metalora.launcher.report.Report;
import io.metalora.model.LoadedModel;
import io.metalora.model.ModelFingerprint;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.OverLength;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import java.util.zip.CheckedInputStream;
import picocli.CommandLine.Model.CommandSpec;

/**
 * The evaluation at the end of a training run, on the tasks and the model that the run has read already, and the plan of both
 * together. What is answered is kept in the run's folder, so that an evaluation that was stopped is completed by resuming the
 * run.
 */
final class EndEvaluation extends TrainProgress {

    /** Enough for a standard error of 3.5 points a task at most, and of far less in the mean. */
    static final int MOST_SAMPLES = 200;
    static final int MOST_TASKS = 200;

    /** Samples of a task on which the use of a mixture's heads is measured: enough tokens for a mean. */
    private static final int HEAD_SAMPLES = 32;

    private static final String BASE = "base model";
    private static final String SHARED = "shared adapter";
    private static final String ADAPTED = "after stage 1";
    private static final String OWN = "own adapter";

    /** The training's stage; the reading is before it, an arm's evaluation each after it. */
    private static final int TRAINING = 1;

    private final Progress progress;
    private final StopSignal stop;
    private final TrainConfig config;
    private final boolean skipped;
    private final int samples;
    private final int mostTasks;
    private Split split;
    private String modelDigest;
    private int allTasks;
    private List<TaskItems> items = List.of();
    private List<EncodedTask> samplesOfItems = List.of();
    private List<String> arms = List.of();
    private List<EncodedTask> trained = List.of();
    private List<HeadUse> heads = List.of();
    private Comparison comparison;
    private String answered = "";
    private boolean stopped;
    private RuntimeException failure;

    /**
     * @param skipped   whether nothing is to be evaluated
     * @param split     null: test where every task has it, else none
     * @param samples   most items to answer, and samples to adapt on, of a task; 0 for all
     * @param mostTasks most tasks; 0 for all
     */
    EndEvaluation(CommandSpec spec, Progress progress, StopSignal stop, TrainConfig config, boolean skipped, Split split, int samples,
            int mostTasks) {
        super(spec, "train", progress, TRAINING);
        this.progress = progress;
        this.stop = stop;
        this.config = config;
        this.skipped = skipped;
        this.split = split;
        this.samples = samples;
        this.mostTasks = mostTasks;
    }

    TrainConfig config() {
        return config;
    }

    /** What to evaluate at the end: a missing split is better reported before the training than after it. */
    @Override
    public void prepared(List<Task> read, List<EncodedTask> all, TextTokenizer tokenizer, ModelConfig modelConfig, ModelFingerprint model) {
        trained = all.subList(0, Math.min(MOST_TASKS, all.size()));
        List<Task> tasks = read;
        List<String> untested = tasks.stream().filter(task -> task.test().isEmpty()).map(Task::name).toList();
        if (skipped || split == null && !untested.isEmpty()) {
            if (!skipped && untested.size() < tasks.size()) {
                warning("nothing is evaluated at the end, since " + untested.size() + " of the " + tasks.size()
                        + " tasks have no test.jsonl, such as " + Shown.plain(untested.getFirst())
                        + "; give them one, choose the tasks with data.names, or another split with --eval");
            }
            split = null;
        } else {
            split = split == null ? Split.TEST : split;
            tasks.forEach(split::require);
            tasks = thatFit(tasks, tokenizer, modelConfig);
            allTasks = tasks.size();
            items = TaskItems.sample(tasks, mostTasks).stream().map(task -> TaskItems.of(task, split, samples)).toList();
            var names = items.stream().map(TaskItems::task).collect(Collectors.toCollection(HashSet::new));
            samplesOfItems = all.stream().filter(task -> names.contains(task.name())).toList();
            modelDigest = model.digest();
            arms = config.method().givesEachTaskAnAdapter() ? List.of(BASE, OWN) : adapts() ? List.of(BASE, SHARED,
                    ADAPTED) : List.of(BASE, SHARED);
        }
        progress.plan(stages(tasks, all));
    }

    /** Without the items that are too long, or refused for them. */
    private List<Task> thatFit(List<Task> tasks, TextTokenizer tokenizer, ModelConfig model) {
        if (config.data().overLength() == OverLength.DROP) {
            return LongExamples.drop(tasks, split, tokenizer, model, this::warning);
        }
        LongExamples.refuse(tasks, split, tokenizer, model, OverLength.ADVICE);
        return tasks;
    }

    private boolean adapts() {
        return config.method() == Method.META_LORA && config.meta().innerSteps() > 0;
    }

    private List<Progress.Stage> stages(List<Task> tasks, List<EncodedTask> all) {
        long count = all.stream().mapToLong(task -> task.examples().size()).sum();
        double length = all.stream().flatMap(task -> task.examples().stream()).mapToInt(EncodedExample::length).average().orElse(1);
        double characters = tasks.stream().flatMap(task -> task.train().stream())
                .mapToInt(example -> example.prompt().length() + example.completion().length()).average().orElse(1);
        var stages = new ArrayList<Progress.Stage>();
        stages.add(new Progress.Stage("reading", "", 0, 0));
        stages.add(new Progress.Stage("training", "iterations", Work.iterations(config, all.stream().map(task -> task.examples().size()).toList()), Work.training(config, count, length)));
        for (String arm : arms) {
            String name = "evaluating " + arm;
            double perCharacter = length / Math.max(1, characters);
            long adaptedOn = samplesOfItems.stream().mapToLong(task -> samples == 0 ? task.examples().size()
                    : Math.min(samples, task.examples().size())).sum();
            stages.add(arm.equals(ADAPTED)
                    ? RunEvaluation.adaptedStage(name, items, perCharacter, Work.adaptation(config, adaptedOn, length))
                    : RunEvaluation.sharedStage(name, items, perCharacter));
        }
        return stages;
    }

    @Override
    public void started(long done, long total) {
        stop.arm();
        super.started(done, total);
    }

    @Override
    public void trained(Outcome outcome, LoadedModel loaded, LoraAdapter adapter) {
        measureHeads(outcome, loaded, task -> adapter);
        evaluate(outcome, List.of(outcome.folder().adapter()), log -> {
            var evaluation = new RunEvaluation(loaded, log, progress, stop);
            evaluation.shared(BASE, null, TRAINING + 1);
            evaluation.shared(SHARED, adapter, TRAINING + 2);
            if (adapts()) {
                evaluation.adapted(ADAPTED, adapter, atUse(outcome), samplesOfItems, samples, TRAINING + 3);
            }
        });
    }

    /** The settings, with the inner rates that were learned where they were. */
    private TrainConfig atUse(Outcome outcome) {
        List<String> learned = outcome.innerRates();
        return learned.isEmpty() ? config : config.toBuilder().meta(meta -> meta.innerRates(learned)).build();
    }

    @Override
    public void trainedApart(Outcome outcome, LoadedModel loaded, Map<String, LoraAdapter> adapters) {
        measureHeads(outcome, loaded, adapters::get);
        evaluate(outcome, adapters.keySet().stream().map(task -> outcome.folder().adapters().resolve(task)).toList(), log -> {
            var evaluation = new RunEvaluation(loaded, log, progress, stop);
            evaluation.shared(BASE, null, TRAINING + 1);
            evaluation.own(OWN, adapters, TRAINING + 2);
        });
    }

    /**
     * Of a mixture; nothing of other kinds.
     *
     * @param adapterOf that of a task, or null where it has none
     */
    private void measureHeads(Outcome outcome, LoadedModel loaded, Function<String, LoraAdapter> adapterOf) {
        if (outcome.interrupted() || config.adapter().kind() != AdapterKind.MIXTURE) {
            return;
        }
        try {
            List<EncodedTask> tasks = trained.stream().filter(task -> adapterOf.apply(task.name()) != null).toList();
            List<LoraAdapter> adapters = tasks.stream().map(task -> adapterOf.apply(task.name())).toList();
            heads = HeadUse.of(loaded.model(), adapters, tasks, HEAD_SAMPLES, stop);
            AtomicFile.write(outcome.folder().heads(), (Json.pretty(Map.of("tasks", heads)) + "\n")
                    .getBytes(StandardCharsets.UTF_8));
        } catch (CancellationException e) {
            stopped = true;
        } catch (InputException e) { // too little memory for it, say, which does not spoil what was trained
            warning("the use of heads was not measured: " + e.getMessage());
        } catch (RuntimeException e) { // the accuracy is measured all the same
            failure = e;
        }
    }

    /** @param adapters folders of what was trained */
    private void evaluate(Outcome outcome, List<Path> adapters, Consumer<EvaluationLog> each) {
        if (split == null || outcome.interrupted() || stopped) {
            return;
        }
        noteAnswers(EvaluationLog.inMemory(items));
        try (var log = EvaluationLog.open(outcome.folder().evaluation(),
                new Settings(split, samples, mostTasks, modelDigest, digest(adapters)), items)) {
            try {
                each.accept(log);
            } finally {
                noteAnswers(log);
            }
        } catch (CancellationException e) {
            stopped = true;
        } catch (RuntimeException e) { // what was answered is reported all the same
            failure = e;
        }
    }

    private void noteAnswers(EvaluationLog log) {
        comparison = Comparison.of(log, arms);
        answered = arms.stream().map(arm -> arm + " " + log.answered(arm)).collect(Collectors.joining(", "));
    }

    /** Of the adapters' weights, as one. */
    private static String digest(List<Path> adapters) {
        var crc = new CRC32C();
        for (Path adapter : adapters) {
            try (var in = new CheckedInputStream(Files.newInputStream(adapter.resolve("adapter_model.safetensors")), crc)) {
                in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException e) {
                throw new UncheckedIOException(adapter + ": can't be read", e);
            }
        }
        return String.format(Locale.ROOT, "%08x", crc.getValue());
    }

    /** The results so far; empty where nothing was evaluated. */
    Optional<Comparison> comparison() {
        return Optional.ofNullable(comparison);
    }

    /** Whether it was stopped on request before everything was answered. */
    boolean stopped() {
        return stopped;
    }

    /** The failure that ended it, if one did. */
    Optional<RuntimeException> failure() {
        return Optional.ofNullable(failure);
    }

    /** What the table shows, and on how much of the data. */
    String caption() {
        var text = new StringBuilder("Accuracy on ").append(split).append(" in percent");
        var parts = new ArrayList<String>();
        if (items.size() < allTasks) {
            parts.add(String.format(Locale.ROOT, "%,d of the %,d tasks", items.size(), allTasks));
        }
        long sampled = items.stream().filter(task -> task.size() < task.available()).count();
        if (sampled > 0) {
            parts.add(String.format(Locale.ROOT, "%,d items each of %s", samples,
                    sampled == items.size() ? "every task" : sampled + " larger ones"));
        }
        if (adapts() && samplesOfItems.stream().anyMatch(task -> samples > 0 && task.examples().size() > samples)) {
            parts.add(String.format(Locale.ROOT, "stage 1 on at most %,d samples a task", samples));
        }
        return parts.isEmpty() ? text.toString() : text.append(", on a sample: ").append(String.join(", ", parts)).toString();
    }

    /** For the report: nothing where nothing was evaluated. */
    List<Report.Section> sections() {
        return Stream.concat(results().stream(), headUse().stream()).toList();
    }

    private Optional<Report.Section> results() {
        return comparison().map(table -> Report.Table.of("Results", caption() + ". " + missing().map(text -> text + " ").orElse("")
                + Descriptions.JUDGING, table));
    }

    private Optional<Report.Section> headUse() {
        return heads.isEmpty() ? Optional.empty() : Optional.of(new Report.Heatmap("Use of heads",
                "The weight of each head of the mixture on a task, averaged over the adapted Linears and the tokens of up to "
                        + HEAD_SAMPLES + " training samples; the weights of a task sum to 1. The darker, the more; heads.json "
                        + "has the numbers.",
                "heads", 1, heads.stream().map(use -> new Report.Series(use.task(),
                        IntStream.range(0, use.weights().size()).asDoubleStream().toArray(),
                        use.weights().stream().mapToDouble(Double::doubleValue).toArray())).toList()));
    }

    /** What is missing of the table, in words. */
    Optional<String> missing() {
        if (comparison == null || comparison.complete()) {
            return Optional.empty();
        }
        long each = items.stream().mapToLong(TaskItems::size).sum();
        return Optional.of("The evaluation is not complete. Answered of " + each + " items each: " + answered + ".");
    }
}
