package io.metalora.launcher;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.eval.Comparison.Difference;
import io.metalora.eval.Comparison;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.eval.TaskResult;
import io.metalora.launcher.QuickstartPlan.Arm;
import io.metalora.launcher.QuickstartPlan.Setting;
import io.metalora.launcher.report.HtmlReport;
import io.metalora.launcher.report.RunRecord;
import io.metalora.model.LoadedModel;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.run.TrainingRun;
import io.metalora.runtime.DeviceInfo;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
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
 * The results of one setting of the quickstart; if it was stopped, as far as it came.
 *
 * @param setting    what was compared
 * @param trained    the arms that were trained
 * @param comparison all arms, evaluated: the base model, each trained arm, and MeTA-LoRA after stage 1
 */
record QuickstartSetting(Setting setting, List<TrainedArm> trained, Comparison comparison) {

    private static final int BOOTSTRAP_SEED = 1;

    private static final String BASE = "base";

    /** Places of the arms in the comparison. */
    private static final int JOINT_FEW = 1;
    private static final int JOINT_ALL = 2;
    private static final int META_SHARED = 3;
    private static final int META_ADAPTED = 4;

    /** An arm with its run. */
    record TrainedArm(Arm arm, Outcome outcome, RunRecord record) {

        /** With a report in the run's folder. */
        static TrainedArm of(Arm arm, Outcome outcome, DeviceInfo device) {
            var record = RunRecord.read(outcome.folder().metrics(), outcome.folder().draws());
            HtmlReport.write(RunReport.of(outcome, record, List.of(), device), outcome.folder().report());
            return new TrainedArm(arm, outcome, record);
        }
    }

    /** A setting with its tasks, the configuration of each arm, and the stages that its work has. */
    record Prepared(Setting setting, Path tasksFolder, List<Task> tasks, List<TaskItems> items, Map<Arm, TrainConfig> configs,
            List<Progress.Stage> stages) {
    }

    /** Generates a setting's tasks. */
    static Prepared prepare(QuickstartPlan plan, Setting setting, Path folder, Path model, long seed, DeviceChoice device)
            throws IOException {
        Path own = folder.resolve(setting.name());
        Path tasksFolder = own.resolve("tasks");
        setting.tasks().write(seed, tasksFolder);
        List<Task> tasks = TaskFolder.read(tasksFolder);
        var configs = new LinkedHashMap<Arm, TrainConfig>();
        for (Arm arm : plan.arms()) {
            configs.put(arm, arm.config(model, tasksFolder, tasks.size(), own.resolve(arm.name()), seed, device));
        }
        List<TaskItems> items = tasks.stream().map(task -> TaskItems.of(task, Split.TEST, 0)).toList();
        return new Prepared(setting, tasksFolder, tasks, items, configs, stages(plan, setting, tasks, items, configs));
    }

    /** In the order of {@link #run}. Characters stand for tokens: only the ratios matter. */
    private static List<Progress.Stage> stages(QuickstartPlan plan, Setting setting, List<Task> tasks, List<TaskItems> items,
            Map<Arm, TrainConfig> configs) {
        double characters = items.stream().mapToLong(TaskItems::characters).sum() / (double) items.stream().mapToInt(TaskItems::size).sum();
        var stages = new ArrayList<Progress.Stage>();
        stages.add(RunEvaluation.sharedStage(setting.name() + ", evaluating the base", items, 1));
        for (Arm arm : plan.arms()) {
            TrainConfig config = configs.get(arm);
            List<Integer> counts = tasks.stream().map(task -> config.data().samplesPerTask() == 0 ? task.train().size()
                    : Math.min(config.data().samplesPerTask(), task.train().size())).toList();
            long samples = counts.stream().mapToLong(Integer::longValue).sum();
            String name = setting.name() + ", " + arm.label();
            stages.add(new Progress.Stage(name, "iterations", Work.iterations(config, counts), Work.training(config, samples, characters)));
            stages.add(RunEvaluation.sharedStage(name + ", evaluating", items, 1));
            if (arm == plan.metaFew()) {
                stages.add(RunEvaluation.adaptedStage(name + ", evaluating after stage 1", items, 1,
                        Work.adaptation(config, samples, characters)));
            }
        }
        return stages;
    }

    /**
     * Trains every arm and evaluates all of them on the test split; if stopped on request, returns what was done.
     *
     * @param stage the progress' stage that is the setting's first
     */
    static QuickstartSetting run(CommandSpec spec, QuickstartPlan plan, Prepared prepared, LoadedModel loaded, Progress progress, int stage,
            BooleanSupplier stop) {
        PrintWriter out = spec.commandLine().getOut();
        var trained = new ArrayList<TrainedArm>();
        var arms = new ArrayList<String>(List.of(BASE));
        try (var log = EvaluationLog.inMemory(prepared.items())) {
            try {
                var evaluation = new RunEvaluation(loaded, log, progress, stop);
                evaluation.shared(BASE, null, stage++);
                say(out, log, BASE);
                for (Arm arm : plan.arms()) {
                    TrainConfig config = prepared.configs().get(arm);
                    boolean meta = arm == plan.metaFew();
                    int training = stage;
                    var listener = new TrainProgress(spec, prepared.setting().name() + ", " + arm.label(), progress, training) {
                        @Override
                        public void trained(Outcome outcome, LoadedModel model, LoraAdapter adapter) {
                            trained.add(TrainedArm.of(arm, outcome, model.device().info()));
                            if (outcome.interrupted()) {
                                throw new CancellationException("stopped on request");
                            }
                            arms.add(meta ? arm.label() + ": shared" : arm.label());
                            evaluation.shared(arms.getLast(), adapter, training + 1);
                            say(out, log, arms.getLast(), trained.getLast().record());
                            if (meta) {
                                arms.add(arm.label() + ": adapted");
                                evaluation.adapted(arms.getLast(), adapter, config, encoded(), 0, training + 2);
                                say(out, log, arms.getLast());
                            }
                        }
                    };
                    TrainingRun.start(config, loaded, prepared.tasks(), listener, stop);
                    stage += meta ? 3 : 2;
                }
            } catch (CancellationException e) {
                // As far as it came.
            }
            return new QuickstartSetting(prepared.setting(), trained, Comparison.of(log, arms));
        }
    }

    /** Whether nothing is missing. */
    boolean complete() {
        return comparison.arms().size() > META_ADAPTED && comparison.complete();
    }

    private static void say(PrintWriter out, EvaluationLog log, String arm) {
        out.println(String.format(Locale.ROOT, "  %-24s %5.1f %%", arm, 100 * TaskResult.macroMean(log.results(arm))));
    }

    private static void say(PrintWriter out, EvaluationLog log, String arm, RunRecord record) {
        out.println(String.format(Locale.ROOT, "  %-24s %5.1f %%   (%d iterations, %d tokens, %s)", arm,
                100 * TaskResult.macroMean(log.results(arm)), record.iterations(), record.tokens(),
                Progress.time(Math.round(record.seconds()))));
    }

    /** The folder of the adapter of an arm. */
    Path adapter(Arm arm) {
        return trained.stream().filter(t -> t.arm() == arm).findFirst().orElseThrow().outcome().folder().adapter();
    }

    /** What the table shows, in words that follow from its numbers alone. */
    List<String> conclusions() {
        if (!complete()) {
            return List.of("Not complete: it was stopped.");
        }
        var lines = new ArrayList<String>();
        for (int arm : new int[] {META_SHARED, META_ADAPTED}) {
            lines.add(compared(arm, JOINT_FEW) + "; " + compared(arm, JOINT_ALL) + ".");
        }
        return lines;
    }

    private String compared(int arm, int reference) {
        Difference difference = comparison.difference(arm, reference, BOOTSTRAP_SEED);
        String names = comparison.arms().get(arm).name() + " against " + comparison.arms().get(reference).name();
        String interval = String.format(Locale.ROOT, "%+.1f points (95 %% interval %+.1f to %+.1f)", difference.points(),
                difference.low(), difference.high());
        return names + ": " + interval + (difference.clear() ? difference.points() > 0 ? ", higher" : ", lower" : ", no clear difference");
    }

    /** For results.json. */
    Map<String, Object> json() {
        return json(setting.name(), complete(), comparison, trained);
    }

    static Map<String, Object> json(String name, boolean complete, Comparison comparison, List<TrainedArm> trained) {
        var arms = new ArrayList<Map<String, Object>>();
        for (Comparison.Arm arm : comparison.arms()) {
            var accuracy = new LinkedHashMap<String, Object>();
            for (TaskResult result : arm.results()) {
                accuracy.put(result.task(), result.accuracy());
            }
            var entry = new LinkedHashMap<String, Object>();
            entry.put("arm", arm.name());
            entry.put("accuracy", accuracy);
            entry.put("mean_accuracy", arm.results().isEmpty() ? null : arm.mean());
            arms.add(entry);
        }
        var runs = new ArrayList<Map<String, Object>>();
        for (TrainedArm arm : trained) {
            var entry = new LinkedHashMap<String, Object>();
            entry.put("arm", arm.arm().label());
            entry.put("iterations", arm.record().iterations());
            entry.put("tokens", arm.record().tokens());
            entry.put("seconds", arm.record().seconds());
            runs.add(entry);
        }
        var json = new LinkedHashMap<String, Object>();
        json.put("setting", name);
        json.put("complete", complete);
        json.put("arms", arms);
        json.put("runs", runs);
        return json;
    }
}
