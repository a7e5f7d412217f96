package io.metalora.eval;

import java.util.List;

/**
 * How a model did on one task.
 *
 * @param task    the task's name
 * @param method  how an answer was judged
 * @param labels  size of the closed label set; 0 with {@link Method#EXACT_MATCH}
 * @param correct for each example, in the file's order, whether its answer was right
 */
public record TaskResult(String task, Method method, int labels, boolean[] correct) {

    /** How an answer is judged. */
    public enum Method {
        /** The task's closed set of labels is ranked by log-probability after the prompt; the first must be the right one. */
        RANKING,
        /** Greedy decoding must give the completion's tokens and then end (end of sequence, or a line break). */
        EXACT_MATCH
    }

    /** Share of right answers, 0 to 1. */
    public double accuracy() {
        return (double) right() / correct.length;
    }

    /** Number of right answers. */
    public int right() {
        int right = 0;
        for (boolean answer : correct) {
            right += answer ? 1 : 0;
        }
        return right;
    }

    /** The mean of the tasks' accuracies, each task with the same weight. */
    public static double macroMean(List<TaskResult> results) {
        return results.stream().mapToDouble(TaskResult::accuracy).average().orElseThrow();
    }
}
