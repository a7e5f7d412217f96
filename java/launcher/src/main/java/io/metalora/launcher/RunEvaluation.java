package io.metalora.launcher;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskItems;
import io.metalora.model.AdapterSlots;
import io.metalora.model.LoadedModel;
import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.train.TaskAdaptation;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/**
 * Accuracy of what a run trained: the shared adapter on every task, and the adapters after stage 1, each on its task. Answers
 * go to the log as they come; what is in it is not answered again.
 */
final class RunEvaluation {

    private final LoadedModel loaded;
    private final EvaluationLog log;
    private final Progress progress;
    private final BooleanSupplier stop;

    /** @param stop asked before every pass; true ends what runs with a {@link CancellationException} */
    RunEvaluation(LoadedModel loaded, EvaluationLog log, Progress progress, BooleanSupplier stop) {
        this.loaded = loaded;
        this.log = log;
        this.progress = progress;
        this.stop = stop;
    }

    /** The stage of {@link #shared}. */
    static Progress.Stage sharedStage(String name, List<TaskItems> items, double tokensACharacter) {
        return new Progress.Stage(name, "items", items.stream().mapToLong(TaskItems::size).sum(), Work.answers(items, tokensACharacter));
    }

    /** The stage of {@link #adapted}; {@code adaptation} is the work of stage 1. */
    static Progress.Stage adaptedStage(String name, List<TaskItems> items, double tokensACharacter, double adaptation) {
        return new Progress.Stage(name, "tasks", items.size(), Work.answers(items, tokensACharacter) + adaptation);
    }

    /** One adapter, or the base model where it is null, on all tasks. */
    void shared(String arm, LoraAdapter adapter, int stage) {
        progress.begin(stage, log.answered(arm));
        try (var slots = adapter == null ? null : AdapterSlots.of(adapter);
                var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), slots, stop)) {
            evaluator.evaluate(arm, log.items(), task -> 0, log, new Items());
        }
    }

    /** Each task with the adapter of its own, where it has one. */
    void own(String arm, Map<String, LoraAdapter> adapters, int stage) {
        List<TaskItems> items = log.items().stream().filter(task -> adapters.containsKey(task.task())).toList();
        if (items.isEmpty()) {
            return;
        }
        progress.begin(stage, log.answered(arm));
        try (var slots = AdapterSlots.of(items.stream().map(task -> adapters.get(task.task())).toList());
                var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), slots, stop)) {
            evaluator.evaluate(arm, items, task -> task, log, new Items());
        }
    }

    /**
     * The shared adapter after the run's inner steps on a task's samples, on that task.
     *
     * @param samples what training could see of each of the log's tasks, in their order
     * @param most    samples of a task that it is adapted on; 0 for all
     */
    void adapted(String arm, LoraAdapter shared, TrainConfig config, List<EncodedTask> samples, int most, int stage) {
        List<TaskItems> items = log.items();
        List<EncodedTask> chosen = samples.stream().map(task -> chosen(task, most, config.seed())).toList();
        int group = TaskAdaptation.groupSize(config, items.size());
        progress.begin(stage, items.stream().filter(task -> log.complete(arm, task)).count());
        var told = new Groups();
        var plan = new TaskAdaptation.Plan(chosen, config.meta().innerSteps(), config);
        try (var adaptation = new TaskAdaptation(loaded.model(), shared, plan, told::adapted, stop)) {
            TaskEvaluator evaluator = null;
            try {
                for (int from = 0; from < items.size(); from += group) {
                    int to = Math.min(items.size(), from + group);
                    List<TaskItems> tasks = items.subList(from, to);
                    // The groups are always the same: what is adapted together goes through the same passes.
                    long open = tasks.stream().filter(task -> !log.complete(arm, task)).count();
                    if (open == 0) {
                        continue;
                    }
                    told.begin(open, tasks, chosen.subList(from, to), config.meta().innerSteps());
                    AdapterSlots slots = adaptation.adapt(chosen.subList(from, to));
                    if (evaluator == null) {
                        evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), slots, stop);
                    }
                    evaluator.evaluate(arm, tasks, task -> task, log, told);
                    told.end();
                }
            } finally {
                if (evaluator != null) {
                    evaluator.close();
                }
            }
        }
    }

    /** As if {@code data.samples_per_task} had been {@code most}, where training could see more. */
    private static EncodedTask chosen(EncodedTask task, int most, long seed) {
        int available = task.examples().size();
        if (most == 0 || most >= available) {
            return task;
        }
        int[] places = new CounterRandom(seed, Purpose.SUBSET, 0, task.name()).distinct(most, available);
        Arrays.sort(places);
        return new EncodedTask(task.name(), Arrays.stream(places).mapToObj(task.examples()::get).toList(),
                Arrays.stream(places).map(task::line).toArray());
    }

    /** Reports the progress of answers. */
    private final class Items implements TaskEvaluator.Listener {

        @Override
        public void read(long tokens) {
            progress.tokens(tokens);
        }

        @Override
        public void answered(long items) {
            progress.step(items);
        }
    }

    /** Reports the progress of groups of tasks; a task is as far along as its share of adaptation and answers. */
    private final class Groups implements TaskEvaluator.Listener {

        private double tasks;
        private double told;
        private double perToken;
        private double perItem;

        /** A group begins, in which {@code open} tasks are to be answered. */
        void begin(long open, List<TaskItems> items, List<EncodedTask> adapted, int steps) {
            long samples = adapted.stream().mapToLong(task -> task.examples().size()).sum();
            double length = adapted.stream().flatMap(task -> task.examples().stream()).mapToInt(EncodedExample::length).average().orElse(1);
            double answers = items.stream().mapToLong(TaskItems::size).sum();
            // An answer's tokens are not known before they are read; they are taken to be as many as a sample's.
            double work = Work.TRAINED * steps * samples + answers;
            tasks = open;
            told = 0;
            perToken = open * Work.TRAINED / (work * length);
            perItem = open / work;
        }

        void adapted(long tokens) {
            progress.tokens(tokens);
            step(tokens * perToken);
        }

        @Override
        public void read(long tokens) {
            progress.tokens(tokens);
        }

        @Override
        public void answered(long items) {
            step(items * perItem);
        }

        void end() {
            step(tasks - told);
        }

        private void step(double count) {
            double more = Math.min(count, tasks - told);
            told += more;
            progress.step(more);
        }
    }
}
