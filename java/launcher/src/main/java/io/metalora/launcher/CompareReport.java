package io.metalora.launcher;

import io.metalora.config.Protocol.On;
import io.metalora.config.Protocol;
import io.metalora.launcher.CompareResults.RowResult;
import io.metalora.launcher.report.Report.Code;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Differences;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Points;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import io.metalora.launcher.report.Report.Table;
import io.metalora.launcher.report.Report.Text;
import io.metalora.launcher.report.Report;
import io.metalora.runtime.DeviceInfo;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;

/** A comparison as a page, and as Markdown. */
final class CompareReport {

    private static final String HOW = "Mean over seeds of the mean over tasks, on test splits; +- is the standard deviation over seeds. Tokens and "
            + "seconds are of training and adapting, mean over seeds, without evaluation; arms of the same training share it. Peak memory is the "
            + "process', while the arm's cell ran. ";
    private static final String INTERVALS = "Differences in points of accuracy, with 95 % intervals of a paired bootstrap over seeds, tasks and items. "
            + "Better: the whole interval is above 0. Not inferior: the whole interval is above minus the margin.";

    private CompareReport() {
    }

    static Report of(CompareResults results, String protocolText, DeviceInfo device) {
        Protocol protocol = results.protocol();
        var sections = new ArrayList<Section>();
        if (!results.answers().isEmpty()) {
            sections.add(new Text("Answers", results.answers().stream().map(CompareResults.Answer::words).toList()));
            sections.add(new Differences("Differences", INTERVALS, "points", results.answers().stream().filter(of -> of.difference().isPresent())
                    .map(of -> new Differences.Item(of.question().ask(), of.difference().get().points(), of.difference().get().low(),
                            of.difference().get().high(), of.question().margin())).toList()));
        }
        sections.add(new Table("Results", HOW + Descriptions.JUDGING, CompareResults.HEADINGS, results.table(), List.of()));
        for (On on : On.values()) {
            List<RowResult> rows = results.on(on);
            if (rows.isEmpty()) {
                continue;
            }
            List<Series> curves = curves(rows);
            if (!curves.isEmpty()) {
                sections.add(new LearningCurves("Accuracy over samples, " + on + " tasks", "By the samples of each task that it was adapted on.",
                        "samples of a task", "accuracy, %", curves));
            }
            sections.add(new Points("Accuracy over tokens, " + on + " tasks", "Tokens that training and adapting took; those of a row without any "
                    + "stand at the left.", "tokens", "accuracy, %", rows.stream().filter(row -> !Double.isNaN(row.mean()))
                            .map(row -> new Points.Item(row.name(), row.tokens(), 100 * row.mean())).toList()));
            sections.add(new Table("By task, " + on, "Accuracy in percent, mean over seeds.", results.byTaskHeadings(on), results.byTask(on),
                    List.of()));
        }
        if (!results.tracks().isEmpty()) {
            sections.add(new Curves("Accuracy along training", CompareTracks.CAPTION
                    + " Mean over seeds. Faint: as measured. Strong: running mean.", "tokens",
                    "accuracy on dev, %", results.tracks().tracks().stream().map(CompareTracks.Track::series).toList()));
            sections.add(new Table("Tokens until another arm's end", CompareTracks.UNTIL, CompareTracks.HEADINGS,
                    results.tracks().table(), List.of()));
        }
        if (!results.trials().isEmpty()) {
            sections.add(new Table("Trials", "Every trial of every arm, with seed " + tuningSeeds(protocol) + ", judged on dev splits alone.",
                    CompareResults.TRIAL_HEADINGS, results.trialTable(), List.of()));
        }
        List<String> diverged = results.rows().stream().flatMap(row -> row.diverged().stream().map(how -> row.row() + ", " + how)).toList();
        if (!diverged.isEmpty()) {
            sections.add(new Text("Diverged", diverged));
        }
        results.mixedDevices().ifPresent(line -> sections.add(new Text("Devices", List.of(line))));
        sections.add(new Facts("Environment", Environment.facts(device)));
        sections.add(new Code("Protocol", protocolText));
        return new Report(protocol.title(), protocol.arms().size() + " arms, seeds " + protocol.seeds(), sections);
    }

    private static String tuningSeeds(Protocol protocol) {
        String all = String.join(", ", protocol.tuningSeeds().stream().map(Object::toString).toList());
        return protocol.tuningSeeds().size() == 1 ? all : all + " (their mean, and each)";
    }

    /** One curve an arm that has rows of several K, other than all. */
    private static List<Series> curves(List<RowResult> rows) {
        var byArm = new LinkedHashMap<String, List<RowResult>>();
        rows.stream().filter(row -> row.row().samples() > 0)
                .forEach(row -> byArm.computeIfAbsent(row.label(), label -> new ArrayList<>()).add(row));
        return byArm.entrySet().stream().filter(arm -> arm.getValue().size() > 1).map(arm -> {
            List<RowResult> sorted = arm.getValue().stream().sorted(Comparator.comparingInt(row -> row.row().samples())).toList();
            return new Series(arm.getKey(), sorted.stream().mapToDouble(row -> row.row().samples()).toArray(),
                    sorted.stream().mapToDouble(row -> 100 * row.mean()).toArray());
        }).toList();
    }

    /** The answers and tables, to be put into a document. */
    static String markdown(CompareResults results) {
        var text = new StringBuilder("# ").append(escaped(results.protocol().title())).append("\n\n");
        text.append("Seeds ").append(results.protocol().seeds()).append(". ").append(HOW).append(Descriptions.JUDGING).append("\n\n");
        results.mixedDevices().ifPresent(line -> text.append(escaped(line)).append("\n\n"));
        if (!results.answers().isEmpty()) {
            text.append("## Answers\n").append(INTERVALS).append("\n\n");
            results.answers().forEach(answer -> text.append("- ").append(escaped(answer.words())).append('\n'));
            text.append('\n');
        }
        table(text.append("## Results\n"), CompareResults.HEADINGS, results.table());
        for (On on : On.values()) {
            if (!results.on(on).isEmpty()) {
                table(text.append("## By task, ").append(on).append("\nAccuracy in percent, mean over seeds.\n\n"), results.byTaskHeadings(on),
                        results.byTask(on));
            }
        }
        if (!results.tracks().isEmpty()) {
            table(text.append("## Tokens until another arm's end\n").append(CompareTracks.CAPTION).append(' ')
                    .append(CompareTracks.UNTIL).append("\n\n"),
                    CompareTracks.HEADINGS, results.tracks().table());
        }
        if (!results.trials().isEmpty()) {
            table(text.append("## Trials\nWith seed ").append(tuningSeeds(results.protocol())).append(", judged on dev splits alone.\n\n"),
                    CompareResults.TRIAL_HEADINGS, results.trialTable());
        }
        return text.toString();
    }

    private static void table(StringBuilder text, List<String> headings, List<List<String>> rows) {
        line(text, headings);
        line(text, headings.stream().map(heading -> "---").toList());
        rows.forEach(row -> line(text, row));
        text.append('\n');
    }

    private static void line(StringBuilder text, List<String> cells) {
        cells.forEach(cell -> text.append("| ").append(escaped(cell)).append(' '));
        text.append("|\n");
    }

    private static String escaped(String text) {
        return text.replaceAll("\\p{Cntrl}", " ").replace("|", "\\|");
    }
}
