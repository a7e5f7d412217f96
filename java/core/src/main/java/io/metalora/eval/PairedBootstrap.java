package io.metalora.eval;

import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;

/**
 * How sure the difference of two arms is, when tasks, their items and the seeds of training are each a sample of what there might
 * have been: a bootstrap (Efron 1979) that draws all three anew, with replacement, and the same ones for both arms.
 *
 * @param points difference of the mean accuracies, in points (0 to 100): over seeds, of the mean over tasks
 * @param low    lower end of the 95 % interval, by percentiles
 * @param high   its upper end
 */
public record PairedBootstrap(double points, double low, double high) {

    /** Resamples: the interval's ends then move by less than what is printed. */
    private static final int RESAMPLES = 10_000;
    private static final double TAIL = 0.025;

    /** What an interval says, given a margin. */
    public enum Verdict {
        /** All of the interval is above 0. */
        BETTER("better"),
        /** All of it is above minus the margin. */
        NOT_INFERIOR("not inferior"),
        /** All of it is below 0, and some of it below minus the margin. */
        WORSE("worse"),
        /** None of these. */
        OPEN("open");

        private final String words;

        Verdict(String words) {
            this.words = words;
        }

        @Override
        public String toString() {
            return words;
        }
    }

    /**
     * One arm against another.
     *
     * @param arm       for each seed the results of all tasks; the same seeds, tasks and items, in the same order, as those of
     *                  {@code reference}
     * @param reference the other arm's
     * @param seed      of the resampling
     */
    public static PairedBootstrap of(List<List<TaskResult>> arm, List<List<TaskResult>> reference, long seed) {
        int seeds = arm.size();
        int tasks = arm.getFirst().size();
        byte[][][] difference = new byte[tasks][seeds][];
        double sum = 0;
        for (int s = 0; s < seeds; s++) {
            for (int t = 0; t < tasks; t++) {
                difference[t][s] = difference(arm.get(s).get(t), reference.get(s).get(t));
                sum += mean(difference[t][s]);
            }
        }
        var random = new SplittableRandom(seed);
        double[] resampled = new double[RESAMPLES];
        int[] times = new int[seeds]; // how often a seed was drawn
        for (int i = 0; i < RESAMPLES; i++) {
            Arrays.fill(times, 0);
            for (int s = 0; s < seeds; s++) {
                times[random.nextInt(seeds)]++;
            }
            double total = 0;
            for (int t = 0; t < tasks; t++) {
                byte[][] ofTask = difference[random.nextInt(tasks)];
                int items = ofTask[0].length;
                long right = 0;
                for (int n = 0; n < items; n++) {
                    int item = random.nextInt(items);
                    for (int s = 0; s < seeds; s++) {
                        right += times[s] * ofTask[s][item];
                    }
                }
                total += (double) right / items;
            }
            resampled[i] = 100 * total / (tasks * (double) seeds);
        }
        Arrays.sort(resampled);
        return new PairedBootstrap(100 * sum / (tasks * (double) seeds), resampled[(int) (TAIL * RESAMPLES)],
                resampled[RESAMPLES - 1 - (int) (TAIL * RESAMPLES)]);
    }

    private static byte[] difference(TaskResult arm, TaskResult reference) {
        if (!arm.task().equals(reference.task()) || arm.size() != reference.size()) {
            throw new IllegalArgumentException(arm.size() + " items of " + arm.task() + " against " + reference.size() + " of " + reference.task());
        }
        byte[] difference = new byte[arm.size()];
        for (int i = 0; i < difference.length; i++) {
            difference[i] = (byte) ((arm.correct(i) ? 1 : 0) - (reference.correct(i) ? 1 : 0));
        }
        return difference;
    }

    private static double mean(byte[] values) {
        long sum = 0;
        for (byte value : values) {
            sum += value;
        }
        return (double) sum / values.length;
    }

    /** @param margin in points, not negative; 0: only better and worse are told apart */
    public Verdict verdict(double margin) {
        if (low > 0) {
            return Verdict.BETTER;
        }
        if (margin > 0 && low > -margin) {
            return Verdict.NOT_INFERIOR; // though it may be worse by less than the margin
        }
        return high < 0 ? Verdict.WORSE : Verdict.OPEN;
    }
}
