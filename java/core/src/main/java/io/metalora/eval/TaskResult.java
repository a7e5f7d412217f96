package io.metalora.eval;

import java.util.List;
import java.util.Objects;

/** How a model did on one task. */
public final class TaskResult {

    /** How an answer is judged. */
    public enum Method {
        /** The task's closed set of labels is ranked by log-probability after the prompt; the first must be the right one. */
        RANKING,
        /** Greedy decoding must give the completion's tokens and then end (end of sequence, or a line break). */
        EXACT_MATCH
    }

    private final String task;
    private final Method method;
    private final int labels;
    private final boolean[] correct;

    /**
     * @param task    the task's name
     * @param method  how an answer was judged
     * @param labels  size of the closed label set; 0 with {@link Method#EXACT_MATCH}
     * @param correct for each example, in the file's order, whether its answer was right; copied
     */
    public TaskResult(String task, Method method, int labels, boolean[] correct) {
        this.task = Objects.requireNonNull(task, "task");
        this.method = Objects.requireNonNull(method, "method");
        this.labels = labels;
        this.correct = correct.clone();
    }

    /** The task's name. */
    public String task() {
        return task;
    }

    /** How an answer was judged. */
    public Method method() {
        return method;
    }

    /** Size of the closed label set; 0 with {@link Method#EXACT_MATCH}. */
    public int labels() {
        return labels;
    }

    /** How many examples were answered. */
    public int size() {
        return correct.length;
    }

    /** A copy: for each example, in the file's order, whether its answer was right. */
    public boolean[] correct() {
        return correct.clone();
    }

    /** The same as text: 1 for a right answer, 0 for a wrong one. */
    public String digits() {
        return digits(correct);
    }

    static String digits(boolean[] correct) {
        var text = new StringBuilder();
        for (boolean answer : correct) {
            text.append(answer ? '1' : '0');
        }
        return text.toString();
    }

    /** Whether the answer to an example was right. */
    public boolean correct(int example) {
        return correct[example];
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
