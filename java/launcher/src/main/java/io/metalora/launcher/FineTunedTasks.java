package io.metalora.launcher;

import io.metalora.adapter.LoraAdapter;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskItems;
import io.metalora.model.AdapterSlots;
import io.metalora.model.LoadedModel;
import io.metalora.task.EncodedTask;
import io.metalora.train.FineTuning;
import io.metalora.train.SeparateLora;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;

/**
 * From one adapter to one of each task, fine-tuned on the task's samples, and how well they do. Tasks are trained in groups; those
 * of a group share every pass.
 */
final class FineTunedTasks {

    /** Takes a task's adapter as soon as it is there. */
    @FunctionalInterface
    interface Taker {

        /** @param adapter closed after the call */
        void take(EncodedTask task, LoraAdapter adapter);
    }

    private final LoadedModel loaded;
    private final FineTuning options;
    private final Progress progress;
    private final BooleanSupplier stop;
    private final Map<String, String> failures = new LinkedHashMap<>();
    private long tokens;
    private double seconds;

    /** @param stop asked before every pass; true ends what runs with a {@link CancellationException} */
    FineTunedTasks(LoadedModel loaded, FineTuning options, Progress progress, BooleanSupplier stop) {
        this.loaded = loaded;
        this.options = options;
        this.progress = progress;
        this.stop = stop;
    }

    /** The stage of {@link #run}. Characters stand for the tokens of what is not encoded yet. */
    static Progress.Stage stage(String name, List<EncodedTask> tasks, FineTuning options, List<TaskItems> items, double tokensACharacter) {
        double work = tasks.stream().mapToDouble(task -> work(task, options)).sum() + Work.answers(items, tokensACharacter);
        return new Progress.Stage(name, "tokens' worth", work, work);
    }

    private static double work(EncodedTask task, FineTuning options) {
        int samples = task.examples().size();
        double length = task.examples().stream().mapToInt(example -> example.length()).average().orElse(0);
        return Work.TRAINED * length * options.stepsFor(samples) * Math.min(options.batchSize(), samples);
    }

    /**
     * Fine-tunes each task from {@code start} and evaluates it with its own adapter.
     *
     * @param arm   under which the log keeps the answers
     * @param log   of the tasks that are evaluated; the others are trained all the same
     * @param taker of each adapter, before it is evaluated
     */
    void run(String arm, LoraAdapter start, List<EncodedTask> tasks, EvaluationLog log, Taker taker) {
        var items = new LinkedHashMap<String, TaskItems>();
        log.items().forEach(task -> items.put(task.task(), task));
        int size = SeparateLora.groupSize(start.layout(), tasks.size());
        for (int from = 0; from < tasks.size(); from += size) {
            List<EncodedTask> group = tasks.subList(from, Math.min(tasks.size(), from + size));
            try (var training = new SeparateLora(loaded.model(), start, group, options, stop)) {
                while (training.done() < training.total()) {
                    var report = training.iterate();
                    progress.note(String.format(Locale.ROOT, "loss %.3f", report.loss()));
                    tokens += report.tokens();
                    seconds += report.seconds();
                    progress.tokens(report.tokens());
                    progress.step(Work.TRAINED * report.tokens());
                }
                failures.putAll(training.failures());
                training.finish();
                handOn(group, training.slots(), taker);
                evaluate(arm, group, training.slots(), items, log);
            }
        }
    }

    private void handOn(List<EncodedTask> group, AdapterSlots slots, Taker taker) {
        long count = slots.layout().parameters();
        for (int slot = 0; slot < group.size(); slot++) {
            EncodedTask task = group.get(slot);
            if (!failures.containsKey(task.name())) {
                try (var adapter = LoraAdapter.of(slots.layout(), slots.parameters().view(slot * count, count))) {
                    taker.take(task, adapter);
                }
            }
        }
    }

    private void evaluate(String arm, List<EncodedTask> group, AdapterSlots slots, Map<String, TaskItems> items, EvaluationLog log) {
        // Not of a task that diverged: nobody gets its adapter.
        int[] slotOf = IntStream.range(0, group.size()).filter(slot -> items.containsKey(group.get(slot).name())
                && !failures.containsKey(group.get(slot).name())).toArray();
        List<TaskItems> evaluated = Arrays.stream(slotOf).mapToObj(slot -> items.get(group.get(slot).name())).toList();
        try (var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), slots, stop)) {
            evaluator.evaluate(arm, evaluated, i -> slotOf[i], log, new TaskEvaluator.Listener() {
                @Override
                public void read(long tokens) {
                    progress.tokens(tokens);
                    progress.step(tokens);
                }

                @Override
                public void answered(long count) {
                }
            });
        }
    }

    /** Tasks that diverged (NaN or infinity), and how; they were handed on to nobody. */
    Map<String, String> failures() {
        return failures;
    }

    /** Tokens that training has taken so far. */
    long tokens() {
        return tokens;
    }

    /** Seconds that it has taken. */
    double seconds() {
        return seconds;
    }
}
