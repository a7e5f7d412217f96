package io.metalora.task;

import io.metalora.random.CounterRandom;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.IntStream;

/** The samples of one task that training may see, encoded. */
public final class EncodedTask {

    private final String name;
    private final List<EncodedExample> examples;
    private final int[] lines;
    private final int dropped;
    private final int truncated;

    /**
     * @param name      the task's name
     * @param examples  the samples
     * @param lines     for each sample its index in the task's training split, from 0; ascending; copied
     * @param dropped   how many examples were omitted because they are too long
     * @param truncated how many of the samples lack some of their prompt because they were too long
     */
    public EncodedTask(String name, List<EncodedExample> examples, int[] lines, int dropped, int truncated) {
        this.name = Objects.requireNonNull(name, "name");
        this.examples = List.copyOf(examples);
        this.lines = lines.clone();
        this.dropped = dropped;
        this.truncated = truncated;
        if (lines.length != examples.size()) {
            throw new IllegalArgumentException(examples.size() + " examples but " + lines.length + " lines");
        }
    }

    /** With no example left out. */
    public EncodedTask(String name, List<EncodedExample> examples, int[] lines) {
        this(name, examples, lines, 0, 0);
    }

    /** The task's name. */
    public String name() {
        return name;
    }

    /** The samples. */
    public List<EncodedExample> examples() {
        return examples;
    }

    /** A copy of the samples' indices in the task's training split. */
    public int[] lines() {
        return lines.clone();
    }

    /** The index of a sample in the task's training split, from 0. */
    public int line(int sample) {
        return lines[sample];
    }

    /** How many examples were omitted because they are too long. */
    public int dropped() {
        return dropped;
    }

    /** How many of the samples lack some of their prompt because they were too long. */
    public int truncated() {
        return truncated;
    }

    /**
     * Encodes {@code samples} of the task's training examples, chosen by the seed, or all of them where {@code samples}
     * is 0 or more than there are. For one seed a smaller subset is part of a larger one.
     *
     * @throws InputException if the task has no training examples or one can't be encoded
     */
    public static EncodedTask encode(Task task, ExampleEncoder encoder, int samples, long seed) {
        return encode(List.of(task), encoder, samples, seed).getFirst();
    }

    /** Each task as {@link #encode(Task, ExampleEncoder, int, long)} gives it. */
    public static List<EncodedTask> encode(List<Task> tasks, ExampleEncoder encoder, int samples, long seed) {
        return encode(tasks, encoder, samples, seed, OverLength.REFUSE, "");
    }

    /**
     * As above, for those who train with a configuration.
     *
     * @param overLength {@link OverLength#DROP}: in place of an example that is too long, the next one is taken that the seed
     *                   chooses, while there are any
     * @throws InputException if a task has no training examples or one can't be encoded; all that are too long are reported at
     *                        once
     */
    public static List<EncodedTask> encode(List<Task> tasks, ExampleEncoder encoder, int samples, long seed, OverLength overLength) {
        return encode(tasks, encoder, samples, seed, overLength, OverLength.ADVICE);
    }

    private static List<EncodedTask> encode(List<Task> tasks, ExampleEncoder encoder, int samples, long seed, OverLength overLength,
                                            String advice) {
        TooLong tooLong = encoder.noneTooLong();
        var encoded = new ArrayList<EncodedTask>();
        for (Task task : tasks) {
            encoded.add(encode(task, encoder, samples, seed, overLength, tooLong));
        }
        if (overLength != OverLength.DROP) {
            tooLong.refuse(advice + (overLength == OverLength.TRUNCATE ? " (truncate cuts prompts alone: no conversation, and no prompt "
                    + "whose completion leaves it no room)" : ""));
        }
        for (EncodedTask task : encoded) {
            if (task.examples().isEmpty()) {
                throw new InputException("all " + task.dropped() + " training examples of task " + task.name() + " have more tokens than "
                        + tooLong.limit() + ", so that data.over_length: drop leaves none; shorten some, or leave the task out with data.names");
            }
        }
        return encoded;
    }

    private static EncodedTask encode(Task task, ExampleEncoder encoder, int samples, long seed, OverLength overLength, TooLong tooLong) {
        int available = task.train().size();
        if (available == 0) {
            throw new InputException("task " + task.name() + " has no train.jsonl, so there is nothing to train on; "
                    + "add one, or leave the task out with data.names");
        }
        int wanted = samples == 0 ? available : Math.min(samples, available);
        int most = overLength == OverLength.DROP ? available : wanted;
        int[] order = wanted == available ? IntStream.range(0, available).toArray()
                : new CounterRandom(seed, CounterRandom.Purpose.SUBSET, 0, task.name()).distinct(most, available);
        if (most == wanted) {
            Arrays.sort(order); // so that errors are reported in the file's order
        }
        var chosen = new TreeMap<Integer, EncodedExample>();
        int before = tooLong.count();
        int cutBefore = tooLong.cut();
        for (int i = 0; i < most && chosen.size() < wanted; i++) {
            int line = order[i];
            encoder.encodeOr(task.train().get(line), tooLong).ifPresent(example -> chosen.put(line, example));
        }
        return new EncodedTask(task.name(), List.copyOf(chosen.values()), chosen.keySet().stream().mapToInt(Integer::intValue).toArray(),
                tooLong.count() - before, tooLong.cut() - cutBefore);
    }

    /** Tokens of the longest sample of all tasks. */
    public static int longest(List<EncodedTask> tasks) {
        return tasks.stream().flatMap(task -> task.examples().stream()).mapToInt(EncodedExample::length).max().orElseThrow();
    }
}
