package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.eval.Split;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskResult;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
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

    @Mixin
    private ModelChoice model;

    @Option(names = "--tasks", paramLabel = "DIR", required = true,
            description = "Folder that holds one folder a task, with train.jsonl, dev.jsonl (or val.jsonl, validation.jsonl), test.jsonl.")
    private Path tasks;

    @Option(names = "--split", paramLabel = "train|dev|test", defaultValue = "test",
            description = "Which examples to answer (default: ${DEFAULT-VALUE}).")
    private Split split;

    @Option(names = "--json", description = "Print JSON instead of a table.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @JsonPropertyOrder({"task", "method", "labels", "items", "correct", "accuracy"})
    private record TaskLine(String task, String method, int labels, int items, int correct, double accuracy) {
        TaskLine(TaskResult result) {
            this(result.task(), nameOf(result.method()), result.labels(), result.correct().length, result.right(), result.accuracy());
        }
    }

    @JsonPropertyOrder({"model", "adapter", "split", "tasks", "mean_accuracy"})
    private record Output(String model, String adapter, String split, List<TaskLine> tasks, double meanAccuracy) {
    }

    @Override
    public Integer call() {
        List<Task> read = TaskFolder.read(tasks);
        for (Task task : read) {
            split.require(task);
        }
        var results = new ArrayList<TaskResult>();
        try (var loaded = model.open();
                var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), loaded.slots());
                var progress = Progress.items(spec, "eval", read.stream().mapToLong(task -> split.of(task).size()).sum())) {
            for (Task task : read) {
                progress.note(task.name());
                results.add(evaluator.evaluate(task, split, progress::tokens));
                progress.step(split.of(task).size());
            }
        }
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(Json.pretty(new Output(model.model().toString(), model.adapter() == null ? null : model.adapter().toString(),
                    split.toString(), results.stream().map(TaskLine::new).toList(), TaskResult.macroMean(results))));
        } else {
            out.print(table(results));
        }
        return ExitCode.OK;
    }

    private static TextTable table(List<TaskResult> results) {
        var table = new TextTable("task", "accuracy", "right", "of", "answered by");
        for (TaskResult result : results) {
            table.row(result.task(), percent(result.accuracy()), Integer.toString(result.right()),
                    Integer.toString(result.correct().length),
                    result.labels() > 0 ? "ranking " + result.labels() + " labels" : "exact match");
        }
        return table.row("mean", percent(TaskResult.macroMean(results)), "", "", "");
    }

    private static String nameOf(TaskResult.Method method) {
        return method.name().toLowerCase(Locale.ROOT);
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.1f %%", 100 * share);
    }
}
