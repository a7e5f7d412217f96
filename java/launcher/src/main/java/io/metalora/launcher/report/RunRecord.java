package io.metalora.launcher.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import io.metalora.launcher.report.Report.Table;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * What a training run logged, read back from its metrics.jsonl and draws.jsonl, so that the report of a resumed run shows
 * all of it.
 */
public final class RunRecord {

    /** The start and the end of a run, for comparing them: this share of the measurements each. */
    private static final double WINDOW = 0.1;

    /** Of a probability that is the same for all tasks that are left. */
    private static final double UNIFORM = 1e-6;

    /** Cells of a picture: more can't be told apart, but make the page large. */
    private static final int MOST_COLUMNS = 120;
    private static final int MOST_CELLS = 9000;

    private static final JsonMapper JSON = JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

    private final Curve loss = new Curve();
    private final Map<String, TaskRecord> tasks = new TreeMap<>();
    private boolean composed;
    private final Curve tokensSoFar = new Curve();
    private final Curve secondsSoFar = new Curve();
    private long iterations;
    private long tokens;
    private double seconds;

    private RunRecord() {
    }

    /**
     * Reads the two logs.
     *
     * @throws InputException if a line is damaged
     */
    public static RunRecord read(Path metrics, Path draws) {
        var record = new RunRecord();
        forEachLine(metrics, record::addMetrics);
        forEachLine(draws, record::addDraws);
        return record;
    }

    /** Iterations done. */
    public long iterations() {
        return iterations;
    }

    /** Tokens that went through the model. */
    public long tokens() {
        return tokens;
    }

    /** Wall time of the iterations. */
    public double seconds() {
        return seconds;
    }

    /** Tokens that went through the model in the first iterations, as many as were done. */
    public long tokens(long ofFirst) {
        return (long) tokensSoFar.y[(int) ofFirst - 1];
    }

    /** Wall time of the first iterations. */
    public double seconds(long ofFirst) {
        return secondsSoFar.y[(int) ofFirst - 1];
    }

    /**
     * Losses by task at the run's start and end, loss curves, stage 1, and what was drawn: whatever the method has.
     *
     * @param prefix of every title, for a page with several runs
     */
    public List<Section> sections(String prefix) {
        var sections = new ArrayList<Section>();
        var learning = tasks.values().stream().filter(task -> !task.query.isEmpty()).toList();
        if (learning.isEmpty()) {
            sections.add(new Curves(prefix + "Loss", "The training batches' loss. Faint: each step. Strong: running mean.", "step",
                    "loss in nats a token", List.of(loss.series("all tasks"))));
        } else {
            sections.add(lossTable(prefix, learning));
            sections.add(curves(prefix, learning));
            var pairs = learning.stream().filter(task -> !task.adapted.isEmpty())
                    .map(task -> new BeforeAfter.Item(task.name, task.beforeAdapted.ofEnd(), task.adapted.ofEnd())).toList();
            if (!pairs.isEmpty()) {
                sections.add(new BeforeAfter(prefix + "Stage 1: before and after",
                        "Loss on the support set with the shared adapter, and after the inner steps: the mean of the last "
                                + percent(WINDOW) + " of the iterations in which both were measured." + share(pairs.size(),
                                "took part in none of these (meta.support_after_every)"),
                        "support loss in nats a token", pairs));
            }
        }
        if (!learning.isEmpty() && tasks.values().stream().anyMatch(task -> task.draws < iterations)) {
            sections.addAll(drawsOverTime(prefix));
        }
        sections.add(drawTable(prefix));
        return sections;
    }

    /**
     * A row a task, a column an iteration or several: how often it was drawn, and, where tasks are composed otherwise than
     * uniformly, how probable that was.
     */
    private List<Section> drawsOverTime(String prefix) {
        int columns = Math.clamp(MOST_CELLS / tasks.size(), 20, MOST_COLUMNS);
        long span = Math.max(1, Math.ceilDiv(iterations, columns));
        String cell = span == 1 ? "an iteration" : String.format(Locale.ROOT, "%,d iterations", span);
        var drawn = new ArrayList<Series>();
        var probability = new ArrayList<Series>();
        double mostDrawn = 0;
        double mostProbable = 0;
        for (TaskRecord task : tasks.values()) {
            int used = (int) Math.ceilDiv(iterations, span);
            double[] x = new double[used];
            double[] count = new double[used];
            double[] sum = new double[used];
            for (int i = 0; i < used; i++) {
                x[i] = 1 + i * span;
            }
            for (int i = 0; i < task.drawn.size(); i++) {
                double at = Math.floor((task.drawn.x[i] - 1) / span);
                if (at >= 0 && at < used) { // a log may have more lines than the other, where a run was killed
                    count[(int) at]++;
                    sum[(int) at] += task.drawn.y[i];
                }
            }
            double[] share = new double[used];
            double[] mean = new double[used];
            for (int i = 0; i < used; i++) {
                share[i] = count[i] / Math.min(span, iterations - i * span);
                mean[i] = sum[i] / count[i]; // not a number where it was not drawn
                mostDrawn = Math.max(mostDrawn, share[i]);
                mostProbable = mean[i] > mostProbable ? mean[i] : mostProbable;
            }
            drawn.add(new Series(task.name, x, share));
            probability.add(new Series(task.name, x, mean));
        }
        var sections = new ArrayList<Section>();
        String shades = span == 1 ? "."
                : ", the darker the more of them the task took part in; the darkest: " + percent(mostDrawn) + ".";
        sections.add(new Heatmap(prefix + "Draws over time", "Which tasks took part. A cell is " + cell + shades, "iteration",
                span, drawn));
        if (composed) {
            String caption = "How probable each draw was by meta.composition, among the tasks that were left: the mean of a "
                    + "cell's draws, a cell being %s. The darkest: %.3f. Empty: not drawn.";
            sections.add(new Heatmap(prefix + "Probability of the draws", String.format(Locale.ROOT, caption, cell, mostProbable),
                    "iteration", span, probability));
        }
        return sections;
    }

    /** The mean of the tasks, and each task; those drawn most often first where not all can be shown. */
    private Curves curves(String prefix, List<TaskRecord> learning) {
        boolean all = learning.size() < HtmlReport.MOST_CHARTS;
        var order = all ? learning : learning.stream().sorted(Comparator.comparingInt((TaskRecord task) -> -task.query.size())).toList();
        var series = new ArrayList<Series>();
        series.add(this.loss.series("mean of the tasks"));
        order.forEach(task -> series.add(task.query.series(task.name)));
        return new Curves(prefix + "Loss curves",
                "Loss on the query set at the adapted parameters, task by task" + (all ? "" : ", those drawn most often first")
                        + ". Faint: each time the task was drawn. Strong: running mean.", "iteration", "loss in nats a token", series);
    }

    /** Says where a section is not of all tasks. */
    private String share(int shown, String why) {
        return shown == tasks.size() ? "" : String.format(Locale.ROOT, " %,d of %,d tasks: the others %s.", shown, tasks.size(), why);
    }

    private Table lossTable(String prefix, List<TaskRecord> learning) {
        var rows = new ArrayList<List<String>>();
        for (TaskRecord task : learning) {
            rows.add(List.of(task.name, number(task.query.ofStart()), number(task.query.ofEnd()),
                    task.support.isEmpty() ? "" : number(task.support.ofStart()), task.support.isEmpty() ? "" : number(task.support.ofEnd())));
        }
        return new Table(prefix + "Loss by task", "Mean over the first and the last " + percent(WINDOW) + " of the times a task was drawn, in nats "
                + "a token. Query: at the adapted parameters. Support: with the shared adapter, before stage 1." + share(learning.size(), "were not drawn"),
                List.of("task", "query, first", "query, last", "support, first", "support, last"), rows, List.of());
    }

    private Table drawTable(String prefix) {
        boolean support = tasks.values().stream().anyMatch(task -> !task.supportSeen.isEmpty());
        var rows = new ArrayList<List<String>>();
        for (TaskRecord task : tasks.values()) {
            var row = new ArrayList<>(List.of(task.name, Integer.toString(task.available), Long.toString(task.draws)));
            if (support) {
                row.add(Integer.toString(task.supportSeen.size()));
            }
            row.add(Integer.toString(task.querySeen.size()));
            rows.add(row);
        }
        return new Table(prefix + "Draws", "In how many iterations each task took part, and how many of its samples were seen. draws.jsonl in "
                + "the run's folder names every one.",
                support ? List.of("task", "samples", "iterations", "seen in support", "seen in query")
                        : List.of("task", "samples", "iterations", "seen"), rows, List.of());
    }

    private void addMetrics(JsonNode line) {
        iterations = line.path("iteration").asLong();
        tokens += line.path("tokens").asLong();
        seconds += line.path("seconds").asDouble();
        tokensSoFar.add(iterations, tokens);
        secondsSoFar.add(iterations, seconds);
        loss.add(iterations, line.path("loss").asDouble(Double.NaN));
        for (JsonNode entry : line.path("tasks")) {
            TaskRecord task = task(entry.path("task").asText());
            task.query.add(iterations, entry.path("query_loss").asDouble(Double.NaN));
            JsonNode support = entry.path("support_loss");
            if (!support.isEmpty()) {
                task.support.add(iterations, support.get(0).asDouble(Double.NaN));
                if (entry.has("adapted_loss")) {
                    task.beforeAdapted.add(iterations, support.get(0).asDouble(Double.NaN));
                    task.adapted.add(iterations, entry.get("adapted_loss").asDouble(Double.NaN));
                }
            }
        }
    }

    private void addDraws(JsonNode line) {
        if (line.has("samples")) {
            task(line.path("task").asText()).available = line.get("samples").size();
        }
        int before = 0;
        for (JsonNode draw : line.path("draws")) {
            TaskRecord task = task(draw.path("task").asText());
            task.draws++;
            double probability = draw.path("probability").asDouble(Double.NaN);
            task.drawn.add(line.path("iteration").asDouble(), probability);
            // The lines of the tasks come first: so many are left.
            composed |= Math.abs(probability * (tasks.size() - before++) - 1) > UNIFORM;
            draw.path("support").forEach(sample -> task.supportSeen.add(sample.asInt()));
            draw.path("query").forEach(sample -> task.querySeen.add(sample.asInt()));
        }
    }

    private TaskRecord task(String name) {
        return tasks.computeIfAbsent(name, TaskRecord::new);
    }

    private static void forEachLine(Path file, Consumer<JsonNode> consumer) {
        int number = 0;
        try (var lines = Files.newBufferedReader(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                number++;
                JsonNode node = JSON.readTree(line);
                if (!node.isObject()) {
                    throw damaged(file, number, null);
                }
                consumer.accept(node);
            }
        } catch (JsonProcessingException | CharacterCodingException e) {
            throw damaged(file, Math.max(number, 1), e);
        } catch (IOException e) {
            throw new UncheckedIOException(file + ": can't be read: " + e, e);
        }
    }

    private static InputException damaged(Path file, int line, Exception cause) {
        return new InputException(file + ":" + line + ": the line is damaged; it should be one JSON object, as the run wrote it", cause);
    }

    private static String number(double value) {
        return Double.isFinite(value) ? String.format(Locale.ROOT, "%.3f", value) : "";
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.0f %%", 100 * share);
    }

    private static final class TaskRecord {
        private final String name;
        private final Curve query = new Curve();
        private final Curve support = new Curve();
        private final Curve beforeAdapted = new Curve();
        private final Curve adapted = new Curve();
        private final Curve drawn = new Curve(); // the probabilities
        private final Set<Integer> supportSeen = new HashSet<>();
        private final Set<Integer> querySeen = new HashSet<>();
        private int available;
        private long draws;

        TaskRecord(String name) {
            this.name = name;
        }
    }

    /** Values by iteration. */
    private static final class Curve {
        private double[] x = new double[8];
        private double[] y = new double[8];
        private int size;

        void add(double iteration, double value) {
            if (size == x.length) {
                x = Arrays.copyOf(x, 2 * size);
                y = Arrays.copyOf(y, 2 * size);
            }
            x[size] = iteration;
            y[size++] = value;
        }

        boolean isEmpty() {
            return size == 0;
        }

        int size() {
            return size;
        }

        double ofStart() {
            return mean(0, window());
        }

        double ofEnd() {
            return mean(size - window(), size);
        }

        private int window() {
            return (int) Math.ceil(size * WINDOW);
        }

        private double mean(int from, int to) {
            return Arrays.stream(y, from, to).average().orElse(Double.NaN);
        }

        Series series(String name) {
            return new Series(name, Arrays.copyOf(x, size), Arrays.copyOf(y, size));
        }
    }
}
