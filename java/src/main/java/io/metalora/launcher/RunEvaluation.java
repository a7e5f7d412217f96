package io.metalora.launcher;

import io.metalora.adapter.LoraAdapter;
import io.metalora.eval.Comparison;
import io.metalora.eval.Comparison.Arm;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskResult;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.runtime.DeviceOptions;
import io.metalora.task.EncodedTask;
import io.metalora.task.OverLength;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
import io.metalora.train.Method;
import io.metalora.train.TaskAdaptation;
import io.metalora.train.TrainConfig;
import io.metalora.train.TrainingRun;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Model.CommandSpec;

/** Accuracy of what a run trained: the shared adapter on every task, and the adapters after stage 1, each on its task. */
final class RunEvaluation {

    private final CommandSpec spec;
    private final CausalLM model;
    private final TextTokenizer tokenizer;
    private final List<Task> tasks;
    private final Split split;

    RunEvaluation(CommandSpec spec, CausalLM model, TextTokenizer tokenizer, List<Task> tasks, Split split) {
        this.spec = spec;
        this.model = model;
        this.tokenizer = tokenizer;
        this.tasks = tasks;
        this.split = split;
    }

    /** Loads what a finished run used and compares its adapters with the base model. */
    static Comparison evaluate(CommandSpec spec, TrainConfig config, Path adapter, Split split) {
        List<Task> tasks = TaskFolder.read(config.data().folder(), config.data().names());
        var device = config.compute().device();
        try (var loaded = LoadedModel.open(config.model(), adapter, config.slots(), device)) {
            if (config.data().overLength() == OverLength.DROP) {
                tasks = LongExamples.drop(tasks, split, loaded.tokenizer(), loaded.model().config(),
                        message -> spec.commandLine().getErr().println("warning: " + message));
            }
            var evaluation = new RunEvaluation(spec, loaded.model(), loaded.tokenizer(), tasks, split);
            var arms = new ArrayList<Arm>();
            arms.add(new Arm("base model", evaluation.shared("base model", null)));
            arms.add(new Arm("shared adapter", evaluation.shared("shared adapter", loaded.adapter())));
            if (config.method() == Method.META_LORA && config.meta().innerSteps() > 0) {
                arms.add(new Arm("after stage 1", evaluation.adapted("after stage 1", loaded.adapter(), config)));
            }
            return new Comparison(arms);
        }
    }

    /** One adapter, or the base model where it is null, on all tasks. */
    List<TaskResult> shared(String what, LoraAdapter adapter) {
        try (var slots = adapter == null ? null : AdapterSlots.of(adapter);
                var evaluator = new TaskEvaluator(model, tokenizer, slots);
                var progress = progress(what)) {
            var results = new ArrayList<TaskResult>();
            for (Task task : tasks) {
                results.add(evaluator.evaluate(task, split, progress::tokens));
                progress.step(split.of(task).size());
            }
            return results;
        }
    }

    /** The shared adapter after the run's inner steps on all samples of a task that training could see, on that task. */
    List<TaskResult> adapted(String what, LoraAdapter shared, TrainConfig config) {
        var samples = TrainingRun.encode(config, tokenizer, model.config(), tasks).stream()
                .map(EncodedTask::examples).toList();
        List<LoraAdapter> adapters = TaskAdaptation.adapt(model, shared, samples, config.meta().innerSteps(), config);
        try (var progress = progress(what)) {
            var results = new ArrayList<TaskResult>();
            for (int i = 0; i < tasks.size(); i++) {
                try (var slots = AdapterSlots.of(adapters.get(i));
                        var evaluator = new TaskEvaluator(model, tokenizer, slots)) {
                    results.add(evaluator.evaluate(tasks.get(i), split, progress::tokens));
                }
                progress.step(split.of(tasks.get(i)).size());
            }
            return results;
        } finally {
            adapters.forEach(LoraAdapter::close);
        }
    }

    private Progress progress(String what) {
        return Progress.items(spec, "evaluate " + what, tasks.stream().mapToLong(task -> split.of(task).size()).sum());
    }
}
