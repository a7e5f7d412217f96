package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskItems;
import io.metalora.eval.TaskResult;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.InputException;
import io.metalora.task.Task;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code eval}: accuracy on every task of a folder. */
@Command(
        name = "eval",
        description = {
                "Measures accuracy on each task of a folder, and their mean.",
                "",
                "A task whose training completions are a small closed set is answered by ranking that set by log-probability "
                        + "(ranking). Any other is answered by greedy decoding, which must give the completion and then end "
                        + "(exact match). The table says which.",
                ""},
        footer = {"", "Example:", "  metalora eval --model models/tiny --adapter run/adapter --tasks tasks --split test"})
final class EvalCommand implements Callable<Integer> {

    /** The only one. */
    private static final String ARM = "eval";

    @Mixin
    private ModelChoice model;

    @Option(names = "--tasks", paramLabel = "DIR", required = true,
            description = "Folder that holds one folder a task, with train.jsonl, dev.jsonl (or val.jsonl, validation.jsonl), test.jsonl.")
    private Path tasks;

    @Option(names = "--split", paramLabel = "train|dev|test", defaultValue = "test",
            description = "Which examples to answer (default: ${DEFAULT-VALUE}).")
    private Split split;

    @Option(names = "--samples", paramLabel = "N|all", defaultValue = "all",
            description = "Answer at most N items of a task, the same ones whatever the model and adapter (default: ${DEFAULT-VALUE}).")
    private Limit samples;

    @Option(names = "--even-heads", description = "Give all heads of a mixture the same weight on every token, in place of its "
            + "router's: what "
            + "LoRA with their mean as its B answers, the form in which PEFT could have it, or the base weights.")
    private boolean evenHeads;

    @Option(names = "--json", description = "Print JSON instead of a table; after Ctrl-C the tasks that are done, with \"complete\": false.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @JsonPropertyOrder({"task", "method", "labels", "items", "available", "correct", "accuracy"})
    private record TaskLine(String task, String method, int labels, int items, int available, int correct, double accuracy) {
        TaskLine(TaskResult result, int available) {
            this(result.task(), nameOf(result.method()), result.labels(), result.size(), available, result.right(),
                    result.accuracy());
        }
    }

    /** @param meanAccuracy null where no task is complete */
    @JsonPropertyOrder({"model", "adapter", "split", "complete", "tasks", "mean_accuracy"})
    private record Output(String model, String adapter, String split, boolean complete, List<TaskLine> tasks, Double meanAccuracy) {
    }

    @Override
    public Integer call() {
        List<Task> read = RunData.read(tasks, model.model(), model.adapter());
        List<TaskItems> items = read.stream().map(task -> TaskItems.of(task, split, samples.most())).toList();
        var log = EvaluationLog.inMemory(items);
        PrintWriter out = spec.commandLine().getOut();
        // On a terminal rows would get into the way of the bar.
        var rows = new Rows(items, log, json || Terminal.isTerminal() ? null : out);
        try (var loaded = model.open();
                var stop = new StopSignal(() -> { })) {
            if (evenHeads) {
                giveHeadsTheSameWeight(loaded);
            }
            LongExamples.refuse(read, split, loaded.tokenizer(), loaded.model().config(), "");
            stop.arm();
            try (var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), loaded.slots(), stop);
                    var progress = Progress.of(spec, "eval", "items", items.stream().mapToLong(TaskItems::size).sum())) {
                evaluator.evaluate(ARM, items, task -> 0, log, new TaskEvaluator.Listener() {
                    @Override
                    public void read(long tokens) {
                        progress.tokens(tokens);
                    }

                    @Override
                    public void answered(long count) {
                        rows.print();
                        progress.step(count);
                    }
                });
            } catch (CancellationException e) {
                if (json) {
                    out.println(json(items, log));
                } else {
                    rows.print(out);
                }
                spec.commandLine().getErr().println("stopped: " + log.results(ARM).size() + " of " + items.size()
                        + " tasks are evaluated");
                return ExitCode.INTERRUPTED;
            }
        }
        if (json) {
            out.println(json(items, log));
        } else {
            rows.print(out);
            out.println(rows.mean(log.results(ARM)));
            if (items.stream().anyMatch(task -> task.size() < task.available())) {
                out.println("Of larger tasks " + samples + " items were answered; --samples all answers all of them.");
            }
        }
        return ExitCode.OK;
    }

    private static void giveHeadsTheSameWeight(LoadedModel loaded) {
        if (loaded.slots() == null) {
            throw new InputException("--even-heads is for an adapter that is a mixture; give one with --adapter, or omit it");
        }
        try {
            loaded.slots().evenHeads();
        } catch (InputException e) {
            throw new InputException("--even-heads: " + e.getMessage() + "; omit it", e);
        }
    }

    /** The tasks that are complete. */
    private String json(List<TaskItems> items, EvaluationLog log) {
        List<TaskResult> results = log.results(ARM);
        var lines = items.stream().filter(task -> log.complete(ARM, task)).map(task -> new TaskLine(log.result(ARM, task), task.available())).toList();
        return Json.pretty(new Output(model.model().toString(), model.adapter() == null ? null : model.adapter().toString(), split.toString(),
                lines.size() == items.size(), lines, results.isEmpty() ? null : TaskResult.macroMean(results)));
    }

    /** The table, row by row: its widths are known before its numbers. */
    private static final class Rows {

        private static final List<String> HEADINGS = List.of("task", "accuracy", "right", "of", "answered by");

        private final List<TaskItems> items;
        private final EvaluationLog log;
        private final PrintWriter out;
        private final TextTable layout = new TextTable(HEADINGS);
        private int printed;

        /** @param out where rows go as soon as they are there; null for none but at the end */
        Rows(List<TaskItems> items, EvaluationLog log, PrintWriter out) {
            this.items = items;
            this.log = log;
            this.out = out;
            items.forEach(task -> layout.row(row(task, 1, task.size())));
        }

        private static List<String> row(TaskItems task, double accuracy, int right) {
            return List.of(task.task(), percent(accuracy), Integer.toString(right), Integer.toString(task.size()), task.judging());
        }

        void print() {
            if (out != null) {
                print(out);
            }
        }

        /** What is complete and not printed yet. */
        void print(PrintWriter to) {
            for (; printed < items.size() && log.complete(ARM, items.get(printed)); printed++) {
                if (printed == 0) {
                    to.println(layout.line(HEADINGS));
                }
                TaskResult result = log.result(ARM, items.get(printed));
                to.println(layout.line(row(items.get(printed), result.accuracy(), result.right())));
            }
        }

        String mean(List<TaskResult> results) {
            return layout.line(List.of("mean", percent(TaskResult.macroMean(results)), "", "", ""));
        }
    }

    private static String nameOf(TaskResult.Method method) {
        return method.name().toLowerCase(Locale.ROOT);
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.1f %%", 100 * share);
    }
}
