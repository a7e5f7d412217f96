package io.metalora.launcher;

import io.metalora.eval.Comparison;
import io.metalora.eval.Comparison.Difference;
import io.metalora.eval.HtmlReport;
import io.metalora.eval.RunRecord;
import io.metalora.eval.Split;
import io.metalora.eval.TaskResult;
import io.metalora.launcher.QuickstartPlan.Arm;
import io.metalora.launcher.QuickstartPlan.Setting;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import io.metalora.train.TrainConfig;
import io.metalora.train.TrainingRun;
import io.metalora.train.TrainingRun.Outcome;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import picocli.CommandLine.Model.CommandSpec;

/**
 * One setting of the quickstart, run.
 *
 * @param setting    what it was
 * @param trained    the arms that were trained
 * @param comparison all arms, evaluated: the base model, each trained arm, and MeTA-LoRA after stage 1
 */
record QuickstartSetting(Setting setting, List<TrainedArm> trained, Comparison comparison) {

    private static final int BOOTSTRAP_SEED = 1;

    /** Places of the arms in the comparison. */
    private static final int JOINT_FEW = 1;
    private static final int JOINT_ALL = 2;
    private static final int META_SHARED = 3;
    private static final int META_ADAPTED = 4;

    /** An arm with its run. */
    record TrainedArm(Arm arm, Outcome outcome, RunRecord record) {
    }

    /**
     * Generates the tasks, trains every arm and evaluates all on the test split.
     *
     * @throws CancellationException once {@code stop} is true
     */
    static QuickstartSetting run(CommandSpec spec, QuickstartPlan plan, Setting setting, Path folder, LoadedModel loaded, long seed,
            DeviceChoice device, BooleanSupplier stop) throws IOException {
        PrintWriter out = spec.commandLine().getOut();
        Path tasksFolder = folder.resolve(setting.name()).resolve("tasks");
        setting.tasks().write(seed, tasksFolder);
        List<Task> tasks = TaskFolder.read(tasksFolder);
        out.println("  tasks written to " + tasksFolder);
        var evaluation = new RunEvaluation(spec, loaded.model(), loaded.tokenizer(), tasks, Split.TEST);
        var columns = new ArrayList<Comparison.Arm>();
        columns.add(new Comparison.Arm("base", evaluation.shared("base", null)));
        say(out, columns.getLast());
        var trained = new ArrayList<TrainedArm>();
        for (Arm arm : plan.arms()) {
            TrainConfig config = arm.config(loaded.folder(), tasksFolder, tasks.size(), folder.resolve(setting.name()).resolve(arm.name()), seed, device);
            Outcome outcome;
            try (var progress = new TrainProgress(spec, setting.name() + ", " + arm.label())) {
                outcome = TrainingRun.start(config, loaded.model(), loaded.tokenizer(), tasks, progress, stop);
            }
            if (stop.getAsBoolean()) {
                throw new CancellationException("stopped on request");
            }
            HtmlReport.write(RunReport.of(outcome, Optional.empty(), Split.TEST, loaded.device().info()),
                    outcome.folder().path().resolve("report.html"));
            var record = RunRecord.read(outcome.folder().metrics(), outcome.folder().draws());
            trained.add(new TrainedArm(arm, outcome, record));
            boolean meta = arm == plan.metaFew();
            try (var adapter = loaded.adapter(outcome.folder().adapter())) {
                columns.add(new Comparison.Arm(meta ? arm.label() + ": shared" : arm.label(), evaluation.shared(arm.label(), adapter)));
                say(out, columns.getLast(), record);
                if (meta) {
                    columns.add(new Comparison.Arm(arm.label() + ": adapted", evaluation.adapted(arm.label(), adapter, config)));
                    say(out, columns.getLast());
                }
            }
        }
        return new QuickstartSetting(setting, trained, new Comparison(columns));
    }

    private static void say(PrintWriter out, Comparison.Arm arm) {
        out.println(String.format(Locale.ROOT, "  %-24s %5.1f %%", arm.name(), 100 * arm.mean()));
    }

    private static void say(PrintWriter out, Comparison.Arm arm, RunRecord record) {
        out.println(String.format(Locale.ROOT, "  %-24s %5.1f %%   (%d iterations, %d tokens, %s)", arm.name(), 100 * arm.mean(),
                record.iterations(), record.tokens(), Progress.time(Math.round(record.seconds()))));
    }

    /** Where the adapter of an arm lies. */
    Path adapter(Arm arm) {
        return trained.stream().filter(t -> t.arm() == arm).findFirst().orElseThrow().outcome().folder().adapter();
    }

    /** What the table shows, in words: nothing but its numbers decides them. */
    List<String> conclusions() {
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
        var arms = new ArrayList<Map<String, Object>>();
        for (Comparison.Arm arm : comparison.arms()) {
            var accuracy = new LinkedHashMap<String, Object>();
            for (TaskResult result : arm.results()) {
                accuracy.put(result.task(), result.accuracy());
            }
            var entry = new LinkedHashMap<String, Object>();
            entry.put("arm", arm.name());
            entry.put("accuracy", accuracy);
            entry.put("mean_accuracy", arm.mean());
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
        json.put("setting", setting.name());
        json.put("arms", arms);
        json.put("runs", runs);
        return json;
    }
}
