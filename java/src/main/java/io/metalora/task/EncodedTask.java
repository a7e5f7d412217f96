package io.metalora.task;

import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The samples of one task that training may see, encoded.
 *
 * @param name     the task's name
 * @param examples the samples
 * @param lines    for each sample its index in the task's training split, from 0; ascending
 */
public record EncodedTask(String name, List<EncodedExample> examples, int[] lines) {

    public EncodedTask {
        examples = List.copyOf(examples);
        if (lines.length != examples.size()) {
            throw new IllegalArgumentException(examples.size() + " examples but " + lines.length + " lines");
        }
    }

    /**
     * Encodes {@code samples} of the task's training examples, chosen by the seed, or all of them where {@code samples}
     * is 0 or more than there are. For one seed a smaller subset is part of a larger one.
     *
     * @throws InputException if the task has no training examples or one can't be encoded
     */
    public static EncodedTask encode(Task task, ExampleEncoder encoder, int samples, long seed) {
        int available = task.train().size();
        if (available == 0) {
            throw new InputException("task " + task.name() + " has no train.jsonl, so there is nothing to train on; "
                    + "add one, or leave the task out with data.names");
        }
        int[] lines;
        if (samples == 0 || samples >= available) {
            lines = IntStream.range(0, available).toArray();
        } else {
            lines = new CounterRandom(seed, CounterRandom.Purpose.SUBSET, 0, task.name()).distinct(samples, available);
            Arrays.sort(lines);
        }
        var examples = Arrays.stream(lines).mapToObj(line -> encoder.encode(task.train().get(line))).toList();
        return new EncodedTask(task.name(), examples, lines);
    }

    /** Each task as {@link #encode(Task, ExampleEncoder, int, long)} gives it. */
    public static List<EncodedTask> encode(List<Task> tasks, ExampleEncoder encoder, int samples, long seed) {
        return tasks.stream().map(task -> encode(task, encoder, samples, seed)).toList();
    }

    /** Tokens of the longest sample of all tasks. */
    public static int longest(List<EncodedTask> tasks) {
        return tasks.stream().flatMap(task -> task.examples().stream()).mapToInt(EncodedExample::length).max().orElseThrow();
    }
}
