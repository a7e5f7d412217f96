package io.metalora.eval;

import io.metalora.eval.Report.Table;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * Arms of an experiment, evaluated on the same examples of the same tasks.
 *
 * @param arms the columns, each with one result a task, the tasks in the same order
 */
public record Comparison(List<Arm> arms) {

    /** Resamples of the bootstrap: the interval's ends then move by less than what is printed. */
    private static final int RESAMPLES = 4000;

    /**
     * One way to get an adapter, and how it did.
     *
     * @param name    a few words, a column's heading
     * @param results one a task
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
        arms = List.copyOf(arms);
        for (Arm arm : arms) {
            List<TaskResult> first = arms.getFirst().results();
            boolean same = arm.results().size() == first.size();
            for (int t = 0; same && t < first.size(); t++) {
                same = arm.results().get(t).task().equals(first.get(t).task())
                        && arm.results().get(t).correct().length == first.get(t).correct().length;
            }
            if (!same) {
                throw new IllegalArgumentException("arm " + arm.name() + " was evaluated on other tasks or examples than "
                        + arms.getFirst().name());
            }
        }
    }

    /**
     * The difference of two arms' means with a paired bootstrap over each task's examples. It tells the noise of the test
     * examples; that of seeds and of the choice of tasks is not in it.
     */
    public Difference difference(int arm, int reference, long seed) {
        List<TaskResult> a = arms.get(arm).results();
        List<TaskResult> b = arms.get(reference).results();
        var random = new SplittableRandom(seed);
        double[] resampled = new double[RESAMPLES];
        for (int i = 0; i < RESAMPLES; i++) {
            double sum = 0;
            for (int t = 0; t < a.size(); t++) {
                boolean[] rightA = a.get(t).correct();
                boolean[] rightB = b.get(t).correct();
                int difference = 0;
                for (int n = 0; n < rightA.length; n++) {
                    int item = random.nextInt(rightA.length);
                    difference += (rightA[item] ? 1 : 0) - (rightB[item] ? 1 : 0);
                }
                sum += (double) difference / rightA.length;
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

    /** One row a task: its name, then each arm's accuracy in percent. */
    public List<List<String>> rows() {
        var rows = new ArrayList<List<String>>();
        for (int t = 0; t < arms.getFirst().results().size(); t++) {
            var row = new ArrayList<String>();
            row.add(arms.getFirst().results().get(t).task());
            for (Arm arm : arms) {
                row.add(percent(arm.results().get(t).accuracy()));
            }
            rows.add(row);
        }
        return rows;
    }

    /** The closing row: the arms' means. */
    public List<String> meanRow() {
        var row = new ArrayList<String>();
        row.add("mean");
        arms.forEach(arm -> row.add(percent(arm.mean())));
        return row;
    }

    /** As a section of a report. */
    public Table table(String title, String caption) {
        return new Table(title, caption, headings(), rows(), meanRow());
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.1f", 100 * share);
    }
}
