package io.metalora.eval;

import io.metalora.random.CounterRandom.Purpose;
import io.metalora.random.CounterRandom;
import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.Task;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.zip.CRC32C;

/**
 * What of a task is evaluated, the same for every model and adapter: all items of a split, or a sample of them that depends
 * on nothing but the task's name, the size of its split and the size of the sample.
 */
public final class TaskItems {

    private final String task;
    private final List<Example> examples;
    private final int[] lines;
    private final int available;
    private final List<String> labels;

    private TaskItems(String task, List<Example> examples, int[] lines, int available, List<String> labels) {
        this.task = task;
        this.examples = examples;
        this.lines = lines;
        this.available = available;
        this.labels = labels;
    }

    /**
     * Items of a task's split.
     *
     * @param most the size of the sample; 0 for all
     * @throws InputException if the task has no such split
     */
    public static TaskItems of(Task task, Split split, int most) {
        List<Example> all = split.require(task);
        int[] lines;
        if (most == 0 || most >= all.size()) {
            lines = IntStream.range(0, all.size()).toArray();
        } else {
            lines = random(task.name()).distinct(most, all.size());
            Arrays.sort(lines);
        }
        // All of the split decides how the task is answered, so that the sample does not.
        return new TaskItems(task.name(), Arrays.stream(lines).mapToObj(all::get).toList(), lines, all.size(),
                ClosedLabels.of(task, all).orElse(List.of()));
    }

    /** A sample of the tasks, in their order; {@code most} of them, or all where it is 0. */
    public static List<Task> sample(List<Task> tasks, int most) {
        if (most == 0 || most >= tasks.size()) {
            return tasks;
        }
        return Arrays.stream(random("").distinct(most, tasks.size())).sorted().mapToObj(tasks::get).toList();
    }

    /** Not of the run's seed: runs of several seeds are compared on the same items. */
    private static CounterRandom random(String task) {
        return new CounterRandom(0, Purpose.EVALUATION, 0, task);
    }

    /** The task's name. */
    public String task() {
        return task;
    }

    /** Number of items. */
    public int size() {
        return lines.length;
    }

    /** Items of the whole split. */
    public int available() {
        return available;
    }

    /** How an answer is judged. */
    public TaskResult.Method method() {
        return labels.isEmpty() ? TaskResult.Method.EXACT_MATCH : TaskResult.Method.RANKING;
    }

    /** The same in words, for a table. */
    public String judging() {
        return labels.isEmpty() ? "exact match" : "ranking " + labels.size() + " labels";
    }

    /** The closed set of answers, sorted; empty where answers are open. */
    public List<String> labels() {
        return labels;
    }

    List<Example> examples() {
        return examples;
    }

    /** For each item its index in the split, from 0; ascending. */
    int[] lines() {
        return lines;
    }

    /** Characters of the items, for an estimate of the work. */
    public long characters() {
        return examples.stream().mapToLong(example -> example.prompt().length() + example.completion().length()).sum();
    }

    /** A checksum of everything that decides the answers, except the model. */
    String digest() {
        var crc = new CRC32C();
        labels.forEach(label -> update(crc, label));
        for (Example example : examples) {
            update(crc, example.prompt());
            update(crc, example.completion());
        }
        return String.format(Locale.ROOT, "%08x", crc.getValue());
    }

    private static void update(CRC32C crc, String text) {
        crc.update(text.getBytes(StandardCharsets.UTF_8));
        crc.update(0);
    }

    /** With the answers to all items. */
    TaskResult result(boolean[] correct) {
        return new TaskResult(task, method(), labels.size(), correct);
    }

    /** With the answers that {@link TaskResult#digits} gave; empty if they are not to these items. */
    public Optional<TaskResult> result(String digits) {
        if (digits.length() != size() || !digits.matches("[01]*")) {
            return Optional.empty();
        }
        boolean[] correct = new boolean[digits.length()];
        for (int i = 0; i < correct.length; i++) {
            correct[i] = digits.charAt(i) == '1';
        }
        return Optional.of(result(correct));
    }
}
