package io.metalora.launcher;

import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.config.InnerOptimizer;
import io.metalora.config.TrainConfig;
import io.metalora.eval.Comparison.Difference;
import io.metalora.eval.Comparison;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.eval.TaskResult;
import io.metalora.launcher.QuickstartPlan.Arm;
import io.metalora.launcher.QuickstartPlan.NewTasks;
import io.metalora.launcher.QuickstartSetting.TrainedArm;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import io.metalora.launcher.report.Report.Table;
import io.metalora.launcher.report.Report.Text;
import io.metalora.model.LoadedModel;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.run.TrainingRun;
import io.metalora.task.EncodedTask;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import io.metalora.train.FineTuning;
import io.metalora.train.TrainingDivergedException;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import picocli.CommandLine.Model.CommandSpec;

/**
 * The quickstart's setting of new tasks, run; as far as it came, where it was stopped: how well tasks that no training saw are done
 * with K samples of each, by fine-tuning from nothing, from joint LoRA's adapter and from MeTA-LoRA's.
 *
 * @param plan       what it was
 * @param trained    the two shared adapters
 * @param comparison an arm for each start and K, as far as it came
 */
record QuickstartNewTasks(NewTasks plan, List<TrainedArm> trained, Comparison comparison) {

    private static final int BOOTSTRAP_SEED = 1;
    private static final String NOTHING = "nothing";

    /** The setting with its tasks, configurations and the stages that its work has. */
    record Prepared(NewTasks plan, Path trainingFolder, Path useFolder, List<Task> training, List<Task> use, List<TaskItems> items,
            Map<Arm, TrainConfig> configs, List<Progress.Stage> stages) {
    }

    /** Generates the tasks. */
    static Prepared prepare(NewTasks plan, Path folder, Path model, long seed, DeviceChoice device) throws IOException {
        Path own = folder.resolve(plan.name());
        Path trainingFolder = own.resolve("tasks");
        Path useFolder = own.resolve("new-tasks");
        plan.training().write(seed, trainingFolder);
        plan.use().write(seed, useFolder);
        List<Task> training = TaskFolder.read(trainingFolder);
        List<Task> use = TaskFolder.read(useFolder);
        List<TaskItems> items = use.stream().map(task -> TaskItems.of(task, Split.TEST, 0)).toList();
        var configs = new LinkedHashMap<Arm, TrainConfig>();
        for (Arm arm : plan.arms()) {
            configs.put(arm, arm.config(model, trainingFolder, training.size(), own.resolve(arm.name()), seed, device));
        }
        return new Prepared(plan, trainingFolder, useFolder, training, use, items, configs, stages(plan, training, items, configs));
    }

    /** In the order of {@link #run}. Characters stand for tokens: only the ratios matter. */
    private static List<Progress.Stage> stages(NewTasks plan, List<Task> training, List<TaskItems> items, Map<Arm, TrainConfig> configs) {
        double characters = items.stream().mapToLong(TaskItems::characters).sum() / (double) items.stream().mapToInt(TaskItems::size).sum();
        var stages = new ArrayList<Progress.Stage>();
        addUse(stages, plan, NOTHING, items, characters);
        for (Arm arm : plan.arms()) {
            TrainConfig config = configs.get(arm);
            List<Integer> counts = training.stream().map(task -> Math.min(config.data().samplesPerTask(), task.train().size())).toList();
            long samples = counts.stream().mapToLong(Integer::longValue).sum();
            stages.add(new Progress.Stage(plan.name() + ", " + arm.label(), "iterations", Work.iterations(config, counts),
                    Work.training(config, samples, characters)));
            addUse(stages, plan, arm.label(), items, characters);
        }
        return stages;
    }

    private static void addUse(List<Progress.Stage> stages, NewTasks plan, String start, List<TaskItems> items, double characters) {
        stages.add(RunEvaluation.sharedStage(plan.name() + ", evaluating from " + start, items, 1));
        double work = Work.answers(items, 1);
        for (int k : plan.samples()) {
            double all = Work.TRAINED * characters * plan.epochs() * k * items.size() + work;
            stages.add(new Progress.Stage(plan.name() + ", adapting from " + start + " on " + k, "tokens", all, all));
        }
    }

    /**
     * Trains both shared adapters, and adapts each start on K samples of each new task.
     *
     * @param stage the progress' stage that is the setting's first
     */
    static QuickstartNewTasks run(CommandSpec spec, Prepared prepared, LoadedModel loaded, long seed, Progress progress, int stage,
            BooleanSupplier stop) {
        NewTasks plan = prepared.plan();
        PrintWriter out = spec.commandLine().getOut();
        var trained = new ArrayList<TrainedArm>();
        var arms = new ArrayList<String>();
        try (var log = EvaluationLog.inMemory(prepared.items())) {
            try {
                var use = new Use(plan, prepared, loaded, seed, progress, stop, log, arms, out);
                try (var fresh = LoraAdapter.create(loaded.device(),
                        new LoraLayout(loaded.model().config(), TrainConfig.DEFAULTS.adapter().lora()), seed)) {
                    use.from(NOTHING, fresh, stage);
                }
                int next = stage + use.stages();
                for (Arm arm : plan.arms()) {
                    int training = next;
                    var listener = new TrainProgress(spec, plan.name() + ", " + arm.label(), progress, training) {
                        @Override
                        public void trained(Outcome outcome, LoadedModel model, LoraAdapter adapter) {
                            trained.add(TrainedArm.of(arm, outcome, model.device().info()));
                            if (outcome.interrupted()) {
                                throw new CancellationException("stopped on request");
                            }
                            use.from(arm.label(), adapter, training + 1);
                        }
                    };
                    TrainingRun.start(prepared.configs().get(arm), loaded, prepared.training(), listener, stop);
                    next += 1 + use.stages();
                }
            } catch (CancellationException e) {
                // As far as it came.
            }
            return new QuickstartNewTasks(plan, trained, Comparison.of(log, arms));
        }
    }

    /** What is done with each start. */
    private record Use(NewTasks plan, Prepared prepared, LoadedModel loaded, long seed, Progress progress, BooleanSupplier stop,
            EvaluationLog log, List<String> arms, PrintWriter out) {

        int stages() {
            return 1 + plan.samples().size();
        }

        void from(String start, LoraAdapter adapter, int stage) {
            arms.add(arm(start, 0));
            new RunEvaluation(loaded, log, progress, stop).shared(arms.getLast(), adapter, stage);
            var options = new FineTuning(0, plan.epochs(), plan.batchSize(), InnerOptimizer.ADAMW, AdapterPart.ALL,
                    plan.optimizer(), seed, 0);
            var encoder = ExampleEncoder.forTraining(loaded.tokenizer(), loaded.model().config());
            var line = new StringBuilder(String.format(Locale.ROOT, "  %-24s %5.1f", "from " + start, mean()));
            for (int i = 0; i < plan.samples().size(); i++) {
                int k = plan.samples().get(i);
                arms.add(arm(start, k));
                progress.begin(stage + 1 + i, 0);
                var tuned = new FineTunedTasks(loaded, options, progress, stop);
                tuned.run(arms.getLast(), adapter, EncodedTask.encode(prepared.use(), encoder, k, seed), log, (task, adapted) -> { });
                if (!tuned.failures().isEmpty()) {
                    throw new TrainingDivergedException(arms.getLast() + ": adapting diverged (NaN or infinity): " + tuned.failures());
                }
                line.append(String.format(Locale.ROOT, "  %5.1f", mean()));
            }
            out.println(line.append(" %").toString());
        }

        private double mean() {
            return 100 * TaskResult.macroMean(log.results(arms.getLast()));
        }
    }

    private static String arm(String start, int k) {
        return start + ", K = " + k;
    }

    /** The starts, from which tasks are adapted. */
    private static List<String> starts(NewTasks plan) {
        var starts = new ArrayList<String>();
        starts.add(NOTHING);
        plan.arms().forEach(arm -> starts.add(arm.label()));
        return starts;
    }

    /** K, 0 first. */
    private static List<Integer> counts(NewTasks plan) {
        var counts = new ArrayList<Integer>();
        counts.add(0);
        counts.addAll(plan.samples());
        return counts;
    }

    /** Whether nothing is missing. */
    boolean complete() {
        return comparison.arms().size() == starts(plan).size() * counts(plan).size() && comparison.complete();
    }

    List<String> headings() {
        var headings = new ArrayList<String>();
        headings.add("samples of a new task");
        starts(plan).forEach(start -> headings.add("from " + start));
        return headings;
    }

    /** One row for each K: the mean accuracy from each start, in percent. */
    List<List<String>> rows() {
        var rows = new ArrayList<List<String>>();
        for (int k : counts(plan)) {
            var row = new ArrayList<String>();
            row.add(Integer.toString(k));
            for (String start : starts(plan)) {
                double mean = mean(start, k);
                row.add(Double.isNaN(mean) ? "-" : String.format(Locale.ROOT, "%.1f", 100 * mean));
            }
            rows.add(row);
        }
        return rows;
    }

    private double mean(String start, int k) {
        return index(start, k) < 0 || comparison.arms().get(index(start, k)).results().size() < comparison.tasks().size() ? Double.NaN
                : comparison.arms().get(index(start, k)).mean();
    }

    private int index(String start, int k) {
        for (int i = 0; i < comparison.arms().size(); i++) {
            if (comparison.arms().get(i).name().equals(arm(start, k))) {
                return i;
            }
        }
        return -1;
    }

    /** What the table shows, in words: nothing but its numbers decides them. */
    List<String> conclusions() {
        if (!complete()) {
            return List.of("Not complete: it was stopped.");
        }
        var lines = new ArrayList<String>();
        List<String> starts = starts(plan);
        for (int k : plan.samples()) {
            var parts = new ArrayList<String>();
            for (String reference : starts.subList(0, starts.size() - 1)) {
                Difference difference = comparison.difference(index(starts.getLast(), k), index(reference, k), BOOTSTRAP_SEED);
                parts.add("from " + reference + String.format(Locale.ROOT, " %+.1f points (95 %% interval %+.1f to %+.1f)", difference.points(),
                        difference.low(), difference.high()) + (difference.clear() ? difference.points() > 0 ? ", higher" : ", lower"
                                : ", no clear difference"));
            }
            lines.add("K = " + k + ", from " + starts.getLast() + " against " + String.join("; ", parts) + ".");
        }
        return lines;
    }

    /** Where the shared adapter of an arm lies. */
    Path adapter(Arm arm) {
        return trained.stream().filter(t -> t.arm() == arm).findFirst().orElseThrow().outcome().folder().adapter();
    }

    /** For the report. */
    List<Section> sections() {
        List<Integer> counts = counts(plan);
        var series = new ArrayList<Series>();
        for (String start : starts(plan)) {
            series.add(new Series("from " + start, counts.stream().mapToDouble(k -> k).toArray(),
                    counts.stream().mapToDouble(k -> 100 * mean(start, k)).toArray()));
        }
        return List.of(
                new Table("Results: " + plan.name(), "Accuracy in percent on the test split of " + plan.title() + ", by the samples of each that "
                        + "its adapter was fine-tuned on. " + Descriptions.JUDGING, headings(), rows(), List.of()),
                new LearningCurves("Learning curves: " + plan.name(), "The same. The more a start gives, the higher a line is on the left.",
                        "samples of a new task", "accuracy, %", series),
                new Text("In words: " + plan.name(), conclusions()));
    }

    /** For results.json. */
    Map<String, Object> json() {
        return QuickstartSetting.json(plan.name(), complete(), comparison, trained);
    }
}
