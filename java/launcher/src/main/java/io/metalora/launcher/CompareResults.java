package io.metalora.launcher;

import io.metalora.config.Protocol.Arm;
import io.metalora.config.Protocol.Question;
import io.metalora.config.Protocol.Row;
import io.metalora.config.Protocol;
import io.metalora.eval.PairedBootstrap;
import io.metalora.eval.TaskResult;
import io.metalora.launcher.CompareRun.Cell;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * What all cells of a comparison say together.
 *
 * @param rows    in the protocol's order
 * @param answers to its questions
 * @param trials  of every tuned arm
 * @param tracks  what was measured along trainings
 * @param devices how many cells were computed on each
 */
record CompareResults(Protocol protocol, List<RowResult> rows, List<Answer> answers, List<TrialResult> trials,
        CompareTracks tracks, Map<String, Long> devices) {

    private static final int BOOTSTRAP_SEED = 1;
    private static final double MIB = 1 << 20;

    /**
     * A row over all seeds.
     *
     * @param label      of its arm
     * @param seeds      the results of each seed, one a task; a seed that diverged has none
     * @param tokens     of training and adapting, mean over the seeds that have results; seconds likewise
     * @param peakMemory the most of any seed, in bytes; of the arm's whole cell
     * @param diverged   what diverged (NaN or infinity), by seed
     */
    record RowResult(Row row, String label, List<List<TaskResult>> seeds, double tokens, double seconds, OptionalLong peakMemory,
            List<String> diverged) {

        /** Mean over seeds of the mean over tasks, a share of 1; not a number where a seed diverged. */
        double mean() {
            return diverged.isEmpty() ? seeds.stream().mapToDouble(TaskResult::macroMean).average().orElse(Double.NaN) : Double.NaN;
        }

        /** Standard deviation over seeds of the mean over tasks; empty for fewer than two. */
        OptionalDouble deviation() {
            if (seeds.size() < 2 || !diverged.isEmpty()) {
                return OptionalDouble.empty();
            }
            double mean = mean();
            return OptionalDouble.of(Math.sqrt(seeds.stream().mapToDouble(seed -> Math.pow(TaskResult.macroMean(seed) - mean, 2)).sum()
                    / (seeds.size() - 1)));
        }

        /** Mean over seeds for the task at a place. */
        double task(int place) {
            return diverged.isEmpty() ? seeds.stream().mapToDouble(seed -> seed.get(place).accuracy()).average().orElse(Double.NaN) : Double.NaN;
        }

        List<String> tasks() {
            return seeds.isEmpty() ? List.of() : seeds.getFirst().stream().map(TaskResult::task).toList();
        }

        String samples() {
            return row.samples() == Protocol.NO_ADAPTATION ? "" : row.samples() == 0 ? "all" : Integer.toString(row.samples());
        }

        String name() {
            return label + (samples().isEmpty() ? "" : ", K = " + samples());
        }
    }

    /**
     * @param difference    empty where one of the two diverged
     * @param tokens        that the row took, mean over seeds
     * @param againstTokens that the other took
     */
    record Answer(Question question, Optional<PairedBootstrap> difference, double tokens, double againstTokens) {

        String verdict() {
            return difference.map(of -> of.verdict(question.margin()).toString()).orElse("open: an arm diverged");
        }

        /** For people. */
        String words() {
            String margin = question.margin() > 0 ? String.format(Locale.ROOT, "; margin %.1f", question.margin()) : "";
            return question.ask() + ": " + difference.map(of -> String.format(Locale.ROOT,
                    "%s, %+.1f points (95 %% interval %+.1f to %+.1f%s), at %,.0f tokens against %,.0f", verdict(), of.points(), of.low(), of.high(),
                    margin, tokens, againstTokens)).orElse(verdict()) + ".";
        }
    }

    /** @param bySeed accuracy on dev with each tuning seed, a share of 1; not a number where it diverged */
    record TrialResult(String arm, int number, Map<String, String> settings, List<Double> bySeed, boolean chosen) {

        /** What the trial is judged by. */
        double accuracy() {
            return CompareRun.mean(bySeed);
        }
    }

    static CompareResults of(Protocol protocol, CompareRun run) {
        Map<String, Integer> chosen = run.chosen();
        List<Cell> reported = run.reported(chosen);
        var rows = new ArrayList<RowResult>();
        var byRow = new LinkedHashMap<Row, RowResult>();
        for (Arm arm : protocol.arms().values()) {
            List<Cell> cells = reported.stream().filter(cell -> cell.arm() == arm).toList();
            for (Row row : arm.rows()) {
                rows.add(result(row, arm, cells, run));
                byRow.put(row, rows.getLast());
            }
        }
        List<Answer> answers = protocol.questions().stream().map(question -> answer(question, byRow, protocol.seeds().size())).toList();
        List<TrialResult> trials = protocol.arms().values().stream().filter(Arm::hasTrials).flatMap(arm -> IntStream
                .range(0, arm.grid().size()).mapToObj(trial -> new TrialResult(arm.name(), trial + 1, arm.grid().get(trial).varied(),
                        run.judged(arm, trial), chosen.get(arm.name()) == trial))).toList();
        Map<String, Long> devices = Stream.concat(run.trials().stream(), reported.stream()).collect(Collectors.groupingBy(
                cell -> run.done().get(cell).device(), TreeMap::new, Collectors.counting()));
        return new CompareResults(protocol, rows, answers, trials, CompareTracks.of(run, reported), devices);
    }

    private static RowResult result(Row row, Arm arm, List<Cell> cells, CompareRun run) {
        var seeds = new ArrayList<List<TaskResult>>();
        var diverged = new ArrayList<String>();
        double tokens = 0;
        double seconds = 0;
        OptionalLong peak = OptionalLong.empty();
        for (Cell cell : cells) {
            CompareCell done = run.done().get(cell);
            done.diverged().ifPresent(how -> diverged.add("seed " + cell.seed() + ": " + how));
            if (done.rows().containsKey(row)) {
                var of = done.rows().get(row);
                seeds.add(of.results());
                tokens += done.training().tokens() + of.tokens();
                seconds += done.training().seconds() + of.seconds();
            }
            if (done.peakMemory().isPresent()) {
                peak = OptionalLong.of(Math.max(peak.orElse(0), done.peakMemory().getAsLong()));
            }
        }
        int finite = Math.max(1, seeds.size());
        return new RowResult(row, arm.label(), seeds, tokens / finite, seconds / finite, peak, diverged);
    }

    /** An arm without seeds, which the base model is, is the same with each. */
    private static Answer answer(Question question, Map<Row, RowResult> rows, int seeds) {
        RowResult row = rows.get(question.row());
        RowResult against = rows.get(question.against());
        if (!row.diverged().isEmpty() || !against.diverged().isEmpty()) {
            return new Answer(question, Optional.empty(), row.tokens(), against.tokens());
        }
        var difference = PairedBootstrap.of(ofEach(row, seeds), ofEach(against, seeds), BOOTSTRAP_SEED);
        return new Answer(question, Optional.of(difference), row.tokens(), against.tokens());
    }

    private static List<List<TaskResult>> ofEach(RowResult row, int seeds) {
        return IntStream.range(0, seeds).mapToObj(i -> row.seeds().get(Math.min(i, row.seeds().size() - 1))).toList();
    }

    /** A warning where not all cells come from one device; empty where they do. */
    Optional<String> mixedDevices() {
        String each = devices.entrySet().stream().map(device -> device.getValue() + " on " + (device.getKey().isEmpty() ? "one that is not recorded" : device.getKey()))
                .collect(Collectors.joining("; "));
        return devices.size() < 2 ? Optional.empty() : Optional.of("Cells were computed on more than one device: " + each
                + ". Seconds and peak memory of different ones do not compare, and answers may differ by rounding.");
    }

    // ---- tables

    static final List<String> HEADINGS = List.of("arm", "tasks", "K", "accuracy, %", "+- seeds", "tokens", "seconds", "peak MiB");

    /** One line a row of the results. */
    List<List<String>> table() {
        return rows.stream().map(row -> List.of(row.label(), row.row().on().toString(), row.samples(), percent(row.mean()),
                row.deviation().isPresent() ? percent(row.deviation().getAsDouble()) : "-", String.format(Locale.ROOT, "%,.0f", row.tokens()),
                String.format(Locale.ROOT, "%.1f", row.seconds()),
                row.peakMemory().isPresent() ? String.format(Locale.ROOT, "%.0f", row.peakMemory().getAsLong() / MIB) : "-")).toList();
    }

    /** Accuracy by task, of the rows on the same tasks. */
    List<List<String>> byTask(Protocol.On on) {
        List<RowResult> of = on(on);
        List<String> tasks = of.stream().map(RowResult::tasks).filter(names -> !names.isEmpty()).findFirst().orElse(List.of());
        return IntStream.range(0, tasks.size()).mapToObj(i -> {
            var line = new ArrayList<String>();
            line.add(tasks.get(i));
            of.forEach(row -> line.add(row.tasks().isEmpty() ? "-" : percent(row.task(i))));
            return (List<String>) line;
        }).toList();
    }

    /** Headings of {@link #byTask}. */
    List<String> byTaskHeadings(Protocol.On on) {
        return Stream.concat(Stream.of("task"), on(on).stream().map(RowResult::name)).toList();
    }

    List<RowResult> on(Protocol.On on) {
        return rows.stream().filter(row -> row.row().on() == on).toList();
    }

    static final List<String> TRIAL_HEADINGS = List.of("arm", "trial", "settings", "dev accuracy, %", "");

    List<List<String>> trialTable() {
        return trials.stream().map(trial -> List.of(trial.arm(), Integer.toString(trial.number()), settings(trial.settings()),
                accuracy(trial), trial.chosen() ? "chosen" : "")).toList();
    }

    private static String accuracy(TrialResult trial) {
        String mean = Double.isNaN(trial.accuracy()) ? "diverged" : percent(trial.accuracy());
        return trial.bySeed().size() == 1 ? mean : mean + " (" + String.join(", ", trial.bySeed().stream().map(CompareResults::percent).toList()) + ")";
    }

    private static String settings(Map<String, String> settings) {
        return settings.isEmpty() ? "-" : String.join(", ", settings.entrySet().stream().map(e -> e.getKey() + " " + e.getValue()).toList());
    }

    static String percent(double share) {
        return Double.isNaN(share) ? "-" : String.format(Locale.ROOT, "%.1f", 100 * share);
    }

    // ---- JSON

    Map<String, Object> json() {
        var json = new LinkedHashMap<String, Object>();
        json.put("title", protocol.title());
        json.put("seeds", protocol.seeds());
        json.put("rows", rows.stream().map(CompareResults::json).toList());
        json.put("questions", answers.stream().map(CompareResults::json).toList());
        json.put("trials", trials.stream().map(CompareResults::json).toList());
        json.put("tracks", tracks.json());
        json.put("devices", devices);
        return json;
    }

    private static Map<String, Object> json(RowResult row) {
        var json = new LinkedHashMap<String, Object>();
        json.put("arm", row.row().arm());
        json.put("on", row.row().on().toString());
        json.put("samples", row.row().samples() == Protocol.NO_ADAPTATION ? null : row.row().samples());
        json.put("mean_accuracy", orNull(row.mean()));
        json.put("seed_accuracy", row.seeds().stream().map(TaskResult::macroMean).toList());
        var tasks = new LinkedHashMap<String, Object>();
        List<String> names = row.tasks();
        for (int i = 0; i < names.size(); i++) {
            tasks.put(names.get(i), orNull(row.task(i)));
        }
        json.put("task_accuracy", tasks);
        json.put("tokens", Math.round(row.tokens()));
        json.put("seconds", row.seconds());
        json.put("peak_memory", row.peakMemory().isPresent() ? row.peakMemory().getAsLong() : null);
        json.put("diverged", row.diverged());
        return json;
    }

    private static Map<String, Object> json(Answer answer) {
        var json = new LinkedHashMap<String, Object>();
        json.put("ask", answer.question().ask());
        json.put("row", answer.question().row().toString());
        json.put("against", answer.question().against().toString());
        json.put("margin", answer.question().margin());
        json.put("points", answer.difference().map(PairedBootstrap::points).orElse(null));
        json.put("low", answer.difference().map(PairedBootstrap::low).orElse(null));
        json.put("high", answer.difference().map(PairedBootstrap::high).orElse(null));
        json.put("verdict", answer.verdict());
        return json;
    }

    private static Map<String, Object> json(TrialResult trial) {
        var json = new LinkedHashMap<String, Object>();
        json.put("arm", trial.arm());
        json.put("trial", trial.number());
        json.put("settings", trial.settings());
        json.put("dev_accuracy", orNull(trial.accuracy()));
        json.put("seed_dev_accuracy", trial.bySeed().stream().map(CompareResults::orNull).toList());
        json.put("chosen", trial.chosen());
        return json;
    }

    /** JSON has no NaN. */
    static Double orNull(double value) {
        return Double.isNaN(value) ? null : value;
    }
}
