package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.InnerOptimizer;
import io.metalora.config.Schedule;
import io.metalora.config.TrainConfig;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.file.AtomicFile;
import io.metalora.file.Shown;
import io.metalora.io.ModelConfig;
import io.metalora.model.LoadOptions;
import io.metalora.model.LoadedModel;
import io.metalora.run.RunFolder;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedTask;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import io.metalora.train.FineTuning;
import io.metalora.train.SeparateLora;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code adapt}: from a shared adapter and a few samples of each task to one adapter a task. */
@Command(
        name = "adapt",
        description = {
                "Adapts a shared adapter to tasks, seen in training or not: one adapter a task, fine-tuned on its samples alone, all tasks "
                        + "in one pass over the frozen weights.",
                "",
                "The output folder gets a folder a task, of the shared adapter's kind, and adapt.json: settings, samples, and "
                        + "accuracy before and after on each task that has a test split.",
                ""},
        footer = {
                "",
                "Example:",
                "  metalora adapt --model models/tiny --adapter run/adapter --tasks new-tasks --samples 16 --output adapted"})
final class AdaptCommand implements Callable<Integer> {

    /** Names of the arms in the log. */
    private static final String BEFORE = "before";
    private static final String AFTER = "after";

    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Folder of the base model, in Hugging Face form.")
    private Path model;

    @Option(names = "--adapter", paramLabel = "DIR", required = true,
            description = "Folder of the shared adapter, in PEFT's or HydraLoRA's form, such as RUN/adapter: where every task "
                    + "begins.")
    private Path adapter;

    @Option(names = "--tasks", paramLabel = "DIR", required = true,
            description = "Folder that holds one folder a task, with train.jsonl, and test.jsonl where accuracy is to be measured.")
    private Path tasks;

    @Option(names = "--output", paramLabel = "DIR", required = true, description = "Folder to make, for a folder a task.")
    private Path output;

    @Option(names = "--samples", paramLabel = "K|all", defaultValue = "all",
            description = "Training samples of each task to use, chosen by the seed; every task must have as many (default: ${DEFAULT-VALUE}).")
    private Limit samples;

    @Option(names = "--epochs", paramLabel = "N", description = "Times every sample is seen (default: " + DEFAULT_EPOCHS + ").")
    private Integer epochs;

    @Option(names = "--steps", paramLabel = "N", description = "Optimizer steps of each task, in place of --epochs.")
    private Long steps;

    @Option(names = "--batch-size", paramLabel = "N", defaultValue = "8", description = "Samples a step (default: ${DEFAULT-VALUE}).")
    private int batchSize;

    @Option(names = "--optimizer", paramLabel = "adamw|sgd", defaultValue = "adamw", description = "What takes the steps (default: ${DEFAULT-VALUE}).")
    private InnerOptimizer optimizer;

    @Option(names = "--adapts", paramLabel = "all|b|heads-and-router", defaultValue = "all",
            description = "What of the adapter is adapted: all; b, every B alone (of a mixture its heads), while the tasks share "
                    + "A and the router; or heads-and-router, of a mixture, while they share A (default: ${DEFAULT-VALUE}).")
    private AdapterPart adapts;

    @Option(names = "--lr", paramLabel = "RATE", defaultValue = "2e-3",
            description = "Highest learning rate, which falls along half a cosine to 0 (default: ${DEFAULT-VALUE}). Try several: the embedded "
                    + "2.8 M model takes 8e-3, SmolLM2-135M 5e-4.")
    private float lr;

    @Option(names = "--seed", paramLabel = "S", defaultValue = "0",
            description = "Of the samples that are chosen and of their order (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--eval-samples", paramLabel = "N|all", defaultValue = "all",
            description = "Answer at most N items of a task's test split, the same ones before and after (default: ${DEFAULT-VALUE}).")
    private Limit evalSamples;

    @Option(names = "--json", description = "Print the accuracies as JSON instead of a table.")
    private boolean json;

    @Mixin
    private DeviceChoice device;

    @Spec
    private CommandSpec spec;

    private static final int DEFAULT_EPOCHS = 20;
    private static final String RECORD = "adapt.json";

    /** @param before share of right answers, null without a test split; after likewise, and where it diverged or was not reached */
    @JsonPropertyOrder({"task", "samples", "before", "after"})
    private record TaskLine(String task, int samples, Double before, Double after) {
    }

    /** Means over the tasks that have both. */
    @JsonPropertyOrder({"tasks", "mean_before", "mean_after"})
    private record Results(List<TaskLine> tasks, Double meanBefore, Double meanAfter) {
    }

    @Override
    public Integer call() {
        FineTuning options = options();
        ModelChoice.requireAdapter(adapter);
        NewFolder.requireAbsent(output);
        RunFolder.requireApart(output, tasks, "give another --output");
        List<Task> read = RunData.read(tasks, model, adapter);
        requireSamples(read);
        ModelConfig config = ModelConfig.read(model);
        AdapterLayout layout = LoraAdapter.layout(adapter, config);
        if (!adapts.isOf(layout.kind())) {
            throw new InputException("--adapts is " + adapts + ", but the adapter in " + adapter
                    + " is LoRA, which has no router; use all or b");
        }
        try (var opened = device.open(); var tokenizer = TextTokenizer.load(model)) {
            List<Task> tested = read.stream().filter(task -> !task.test().isEmpty()).toList();
            LongExamples.refuse(tested, Split.TEST, tokenizer, config, "");
            List<EncodedTask> encoded = EncodedTask.encode(read, ExampleEncoder.forTraining(tokenizer, config), samples.most(), seed);
            LoadOptions room = LoadOptions.defaults().withRoomFor(layout, SeparateLora.groupSize(layout, read.size()));
            try (var loaded = LoadedModel.load(model, opened, tokenizer, room); var start = loaded.loadAdapter(adapter)) {
                SeparateLora.estimate(loaded.model(), layout, encoded.subList(0, SeparateLora.groupSize(layout, encoded.size())), options).requireFits(opened,
                        "Adapting", "free memory, choose a smaller model, or shorten the longest sample");
                NewFolder.make(output);
                try {
                    return adapt(loaded, start, options, encoded,
                            tested.stream().map(task -> TaskItems.of(task, Split.TEST, evalSamples.most())).toList());
                } finally {
                    NewFolder.removeIfEmpty(output); // as on a full disk
                }
            }
        }
    }

    private FineTuning options() {
        if (steps != null && epochs != null) {
            throw new InputException("--steps takes the place of --epochs; omit one");
        }
        require("--epochs", epochs == null ? 1 : epochs);
        require("--steps", steps == null ? 1 : steps);
        require("--batch-size", batchSize);
        if (!(lr > 0)) {
            throw new InputException("--lr is " + lr + ", but must be above 0");
        }
        var rule = TrainConfig.DEFAULTS.optimizer();
        return new FineTuning(steps == null ? 0 : steps, epochs == null ? DEFAULT_EPOCHS : epochs, batchSize, optimizer, adapts,
                new TrainConfig.Optimizer(lr, rule.beta1(), rule.beta2(), rule.eps(), 0, 1, Schedule.COSINE, 0, 0, 0), seed, 0);
    }

    private static void require(String option, long value) {
        if (value < 1) {
            throw new InputException(option + " is " + value + ", but must be at least 1");
        }
    }

    private void requireSamples(List<Task> read) {
        if (read.stream().anyMatch(task -> task.name().equals(RECORD))) {
            throw new InputException("a task in " + tasks + " is named " + RECORD + ", as the file that is written beside the adapters; rename its folder");
        }
        read.stream().filter(task -> task.train().isEmpty()).findFirst().ifPresent(task -> {
            throw new InputException("task " + Shown.plain(task.name()) + " in " + tasks + " has no train.jsonl, so there is nothing to adapt to; add one, or "
                    + "move its folder elsewhere");
        });
        List<String> few = read.stream().filter(task -> task.train().size() < samples.most())
                .map(task -> Shown.plain(task.name()) + " has " + task.train().size()).toList();
        if (!few.isEmpty()) {
            throw new InputException("--samples is " + samples + ", but of the tasks in " + tasks + " " + String.join(", ", few)
                    + " training samples; lower --samples or give them more");
        }
    }

    private int adapt(LoadedModel loaded, LoraAdapter start, FineTuning options, List<EncodedTask> encoded, List<TaskItems> items) {
        PrintWriter out = spec.commandLine().getOut();
        PrintWriter err = spec.commandLine().getErr();
        var log = EvaluationLog.inMemory(items);
        var written = new ArrayList<String>();
        Map<String, String> failures;
        boolean stopped = false;
        InputException failure = null;
        try (var stop = new StopSignal(() -> err.println("\nstopping: the adapters that are done are kept"))) {
            stop.arm();
            double tokens = tokensACharacter(encoded, items);
            FineTunedTasks tuned;
            try (var progress = Progress.of(spec, "adapt", List.of(
                    RunEvaluation.sharedStage("evaluating before", items, tokens), FineTunedTasks.stage("adapting", encoded, options, items, tokens)))) {
                tuned = new FineTunedTasks(loaded, options, progress, stop);
                try {
                    if (!items.isEmpty()) {
                        new RunEvaluation(loaded, log, progress, stop).shared(BEFORE, start, 0);
                    }
                    progress.begin(1, 0);
                    tuned.run(AFTER, start, encoded, log, (task, adapted) -> {
                        adapted.save(output.resolve(task.name()), model.toAbsolutePath().normalize().toString());
                        written.add(task.name());
                    });
                } catch (CancellationException e) {
                    stopped = true;
                } catch (InputException e) { // of an evaluation: what is adapted is kept, and recorded
                    failure = e;
                }
            }
            failures = tuned.failures();
            if (failure != null && written.isEmpty()) {
                throw failure; // the folder, of no use without any adapter, is removed
            }
            Results results = results(encoded, items, log);
            String kept = Json.pretty(record(options, encoded, failures, results, !stopped && failure == null));
            AtomicFile.write(output.resolve(RECORD), (kept + "\n").getBytes(StandardCharsets.UTF_8));
            if (json) {
                out.println(Json.pretty(results));
            } else {
                print(results, out);
            }
            if (failure != null) {
                throw new InputException(failure.getMessage() + "; " + written.size() + " of " + encoded.size()
                        + " tasks have an adapter in " + output, failure);
            }
            if (stopped) {
                err.println("stopped: " + written.size() + " of " + encoded.size() + " tasks have their adapter in " + output
                        + "; to adapt the others, move the folders of these out of " + tasks + ", and give another --output");
                return ExitCode.INTERRUPTED;
            }
        }
        if (!failures.isEmpty()) {
            err.println("error: " + failures.size() + " of " + encoded.size() + " tasks diverged (NaN or infinity), and have no adapter: "
                    + failures.entrySet().stream().map(e -> Shown.plain(e.getKey()) + " at " + e.getValue()).collect(Collectors.joining("; "))
                    + "; adapt them at a lower --lr");
            return ExitCode.FAILURE;
        }
        return ExitCode.OK;
    }

    private static double tokensACharacter(List<EncodedTask> encoded, List<TaskItems> items) {
        double tokens = encoded.stream().flatMap(task -> task.examples().stream()).mapToInt(example -> example.length()).average().orElse(1);
        double characters = items.stream().mapToLong(TaskItems::characters).sum() / (double) Math.max(1, items.stream().mapToInt(TaskItems::size).sum());
        return characters == 0 ? 1 : tokens / characters;
    }

    private static Results results(List<EncodedTask> encoded, List<TaskItems> items, EvaluationLog log) {
        var byName = items.stream().collect(Collectors.toMap(TaskItems::task, item -> item));
        var lines = new ArrayList<TaskLine>();
        for (EncodedTask task : encoded) {
            var item = Optional.ofNullable(byName.get(task.name()));
            lines.add(new TaskLine(task.name(), task.examples().size(), item.map(i -> accuracy(log, BEFORE, i)).orElse(null),
                    item.map(i -> accuracy(log, AFTER, i)).orElse(null)));
        }
        List<TaskLine> both = lines.stream().filter(line -> line.before() != null && line.after() != null).toList();
        return new Results(lines, both.isEmpty() ? null : both.stream().mapToDouble(TaskLine::before).average().orElseThrow(),
                both.isEmpty() ? null : both.stream().mapToDouble(TaskLine::after).average().orElseThrow());
    }

    private static Double accuracy(EvaluationLog log, String arm, TaskItems items) {
        return log.complete(arm, items) ? Double.valueOf(log.result(arm, items).accuracy()) : null;
    }

    /** What adapt.json keeps. */
    private Map<String, Object> record(FineTuning options, List<EncodedTask> encoded, Map<String, String> failures, Results results, boolean complete) {
        var settings = new LinkedHashMap<String, Object>();
        settings.put(options.steps() > 0 ? "steps" : "epochs", options.steps() > 0 ? options.steps() : (long) options.epochs());
        settings.put("batch_size", options.batchSize());
        settings.put("optimizer", options.algorithm().toString().toLowerCase(Locale.ROOT));
        settings.put("adapts", adapts.toString());
        settings.put("lr", lr);
        settings.put("seed", seed);
        var lines = new LinkedHashMap<String, Object>();
        encoded.forEach(task -> lines.put(task.name(), task.lines()));
        var all = new LinkedHashMap<String, Object>();
        all.put("model", model.toString());
        all.put("adapter", adapter.toString());
        all.put("tasks_folder", tasks.toString());
        all.put("complete", complete);
        all.put("settings", settings);
        all.put("train_lines", lines);
        all.put("diverged", failures);
        all.put("results", results);
        return all;
    }

    private static void print(Results results, PrintWriter out) {
        var table = new TextTable(List.of("task", "samples", BEFORE, AFTER));
        for (TaskLine line : results.tasks()) {
            table.row(List.of(line.task(), Integer.toString(line.samples()), percent(line.before()), percent(line.after())));
        }
        if (results.meanAfter() != null) {
            table.row(List.of("mean", "", percent(results.meanBefore()), percent(results.meanAfter())));
            out.println("Accuracy on test in percent, of the adapter that was given and of the task's own:");
        }
        out.print(table);
    }

    private static String percent(Double share) {
        return share == null ? "-" : String.format(Locale.ROOT, "%.1f", 100 * share);
    }
}
