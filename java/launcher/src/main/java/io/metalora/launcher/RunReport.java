package io.metalora.launcher;

import io.metalora.config.TrainConfig;
import io.metalora.file.Shown;
import io.metalora.launcher.report.Report.Code;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report;
import io.metalora.launcher.report.RunRecord;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.runtime.DeviceInfo;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The report of one training run. */
final class RunReport {

    private static final int MOST_NAMES = 50;

    private RunReport() {
    }

    /**
     * @param record  of the run's logs
     * @param results what was evaluated at the end
     */
    static Report of(Outcome outcome, RunRecord record, List<Section> results, DeviceInfo device) {
        TrainConfig config = outcome.folder().config();
        var sections = new ArrayList<Section>();
        sections.add(new Facts("Run", facts(outcome, config, record)));
        sections.addAll(results);
        sections.addAll(record.sections(""));
        sections.add(new Code("Configuration", config.toYaml()));
        sections.add(new Facts("Environment", Environment.facts(device)));
        return new Report(outcome.folder().path().getFileName() + ": " + Descriptions.name(config),
                outcome.folder().path().toString(), sections);
    }

    private static String tasks(List<String> names) {
        return names.isEmpty() ? "" : ": " + Shown.first(names, MOST_NAMES);
    }

    private static Map<String, String> facts(Outcome outcome, TrainConfig config, RunRecord record) {
        var facts = new LinkedHashMap<String, String>();
        facts.put("Method", Descriptions.method(config));
        facts.put("Base model", config.model().toString());
        facts.put("Tasks", config.data().folder() + tasks(config.data().names()));
        facts.put("Samples a task", config.data().samplesPerTask() == 0 ? "all" : Integer.toString(config.data().samplesPerTask()));
        facts.put("Iterations", outcome.done() + " of " + outcome.total() + (outcome.interrupted() ? " (stopped; can be resumed)" : ""));
        facts.put("Tokens", String.format(Locale.ROOT, "%,d", record.tokens()));
        facts.put("Time", record.iterations() == 0 ? "none yet" : String.format(Locale.ROOT, "%s (%.0f tokens a second)",
                Progress.time(Math.round(record.seconds())), record.tokens() / record.seconds()));
        facts.put("Adapter", config.method().givesEachTaskAnAdapter() ? outcome.folder().adapters() + ", a folder a task"
                : outcome.folder().adapter().toString());
        return facts;
    }
}
