package io.metalora.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * Arms of an experiment, evaluated on the same examples of the same tasks; where the evaluation was stopped, as far as it
 * came.
 *
 * @param tasks the rows
 * @param arms  the columns, each with one result per task in the order of the rows; one that is not complete lacks some
 */
public record Comparison(List<String> tasks, List<Arm> arms) {

    /** What stands for a result that is not there. */
    private static final String NONE = "-";

    /** Resamples of the bootstrap: the interval's ends then move by less than what is printed. */
    private static final int RESAMPLES = 4000;

    /**
     * One way to get an adapter, and how it did.
     *
     * @param name    a few words, a column's heading
     * @param results one per task that is evaluated
     */
    public record Arm(String name, List<TaskResult> results) {
        public Arm {
            results = List.copyOf(results);
        }

        /** Mean of the tasks' accuracies. */
        public double mean() {
            return TaskResult.macroMean(results);
        }
    }

    /**
     * How much higher one arm's mean accuracy is than another's, in points (0 to 100).
     *
     * @param points difference of the means
     * @param low    lower end of the 95 % interval
     * @param high   its upper end
     */
    public record Difference(double points, double low, double high) {

        /** Whether the interval lies on one side of zero. */
        public boolean clear() {
            return low > 0 || high < 0;
        }
    }

    public Comparison {
        tasks = List.copyOf(tasks);
        arms = List.copyOf(arms);
        var items = new HashMap<String, Integer>();
        for (Arm arm : arms) {
            int row = 0;
            for (TaskResult result : arm.results()) {
                while (row < tasks.size() && !tasks.get(row).equals(result.task())) {
                    row++;
                }
                Integer known = items.putIfAbsent(result.task(), result.size());
                if (row == tasks.size() || (known != null && known != result.size())) {
                    throw new IllegalArgumentException("arm " + arm.name() + " was evaluated on other tasks or examples than "
                            + arms.getFirst().name());
                }
            }
        }
    }

    /** Of arms with results for all tasks of the first. */
    public Comparison(List<Arm> arms) {
        this(arms.getFirst().results().stream().map(TaskResult::task).toList(), arms);
        if (!complete()) {
            throw new IllegalArgumentException("an arm lacks results that " + arms.getFirst().name() + " has");
        }
    }

    /** The results of an evaluation so far. */
    public static Comparison of(EvaluationLog log, List<String> arms) {
        return new Comparison(log.items().stream().map(TaskItems::task).toList(),
                arms.stream().map(arm -> new Arm(arm, log.results(arm))).toList());
    }

    /** Whether every arm has a result for every task. */
    public boolean complete() {
        return arms.stream().allMatch(arm -> arm.results().size() == tasks.size());
    }

    /**
     * The difference of two arms' means with a paired bootstrap over each task's examples. It shows the noise from the test
     * examples, not that from seeds or from the choice of tasks.
     */
    public Difference difference(int arm, int reference, long seed) {
        List<TaskResult> a = arms.get(arm).results();
        List<TaskResult> b = arms.get(reference).results();
        var random = new SplittableRandom(seed);
        double[] resampled = new double[RESAMPLES];
        for (int i = 0; i < RESAMPLES; i++) {
            double sum = 0;
            for (int t = 0; t < a.size(); t++) {
                TaskResult ofA = a.get(t);
                TaskResult ofB = b.get(t);
                int difference = 0;
                for (int n = 0; n < ofA.size(); n++) {
                    int item = random.nextInt(ofA.size());
                    difference += (ofA.correct(item) ? 1 : 0) - (ofB.correct(item) ? 1 : 0);
                }
                sum += (double) difference / ofA.size();
            }
            resampled[i] = 100 * sum / a.size();
        }
        Arrays.sort(resampled);
        return new Difference(100 * (arms.get(arm).mean() - arms.get(reference).mean()),
                resampled[(int) (0.025 * RESAMPLES)], resampled[(int) (0.975 * RESAMPLES) - 1]);
    }

    /** Headings of the table: task, then the arms. */
    public List<String> headings() {
        var headings = new ArrayList<String>();
        headings.add("task");
        arms.forEach(arm -> headings.add(arm.name()));
        return headings;
    }

    /** One row a task: its name, then each arm's accuracy in percent, or a dash where there is none. */
    public List<List<String>> rows() {
        var rows = new ArrayList<List<String>>();
        var results = arms.stream().map(Comparison::byTask).toList();
        for (String task : tasks) {
            var row = new ArrayList<String>();
            row.add(task);
            for (var arm : results) {
                row.add(arm.containsKey(task) ? percent(arm.get(task).accuracy()) : NONE);
            }
            rows.add(row);
        }
        return rows;
    }

    /** The closing row: the arms' means; where an arm is not complete, over the tasks that all begun arms have. */
    public List<String> meanRow() {
        var begun = arms.stream().filter(arm -> !arm.results().isEmpty()).toList();
        var common = new LinkedHashSet<>(tasks);
        begun.forEach(arm -> common.retainAll(byTask(arm).keySet()));
        var row = new ArrayList<String>();
        row.add(complete() ? "mean" : "mean of " + common.size());
        for (Arm arm : arms) {
            var of = arm.results().stream().filter(result -> common.contains(result.task())).toList();
            row.add(of.isEmpty() ? NONE : percent(TaskResult.macroMean(of)));
        }
        return row;
    }

    private static Map<String, TaskResult> byTask(Arm arm) {
        return arm.results().stream().collect(Collectors.toMap(TaskResult::task, Function.identity()));
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.1f", 100 * share);
    }
}
