package io.metalora.launcher;

import io.metalora.config.TrainConfig;
import io.metalora.file.Shown;
import io.metalora.launcher.report.Report.Code;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import io.metalora.launcher.report.Report;
import io.metalora.launcher.report.RunRecord;
import io.metalora.run.TrainingRun.Outcome;
import io.metalora.runtime.DeviceInfo;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The report of one training run. */
final class RunReport {

    private static final int MOST_NAMES = 50;
    private static final Pattern LINEAR = Pattern.compile("model\\.layers\\.(\\d+)\\.(?:.*\\.)?(\\w+)");

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
        innerRates(outcome.innerRates()).ifPresent(sections::add);
        sections.add(new Code("Configuration", config.toYaml()));
        sections.add(new Facts("Environment", Environment.facts(device)));
        return new Report(outcome.folder().path().getFileName() + ": " + Descriptions.name(config),
                outcome.folder().path().toString(), sections);
    }

    /** A row a kind of Linear, a column a layer. */
    private static Optional<Section> innerRates(List<String> learned) {
        var byKind = new LinkedHashMap<String, TreeMap<Double, Double>>();
        for (String entry : learned) {
            int equals = entry.lastIndexOf('=');
            Matcher path = LINEAR.matcher(entry.substring(0, equals));
            if (path.matches()) {
                byKind.computeIfAbsent(path.group(2), kind -> new TreeMap<>()).put(Double.valueOf(path.group(1)),
                        Double.valueOf(entry.substring(equals + 1)));
            }
        }
        return byKind.isEmpty() ? Optional.empty() : Optional.of(new Heatmap("Learned inner rates", String.format(Locale.ROOT,
                "The rate of stage 1 on each Linear, as training left it. The darker, the larger; the darkest: %.3g. "
                + "inner_rates.json has the numbers.",
                byKind.values().stream().flatMap(rates -> rates.values().stream()).mapToDouble(rate -> rate).max().orElse(0)),
                "layer", 1,
                byKind.entrySet().stream().map(kind -> new Series(kind.getKey(),
                        kind.getValue().keySet().stream().mapToDouble(layer -> layer).toArray(),
                        kind.getValue().values().stream().mapToDouble(rate -> rate).toArray())).toList()));
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
