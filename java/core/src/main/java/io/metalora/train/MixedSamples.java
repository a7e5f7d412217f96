package io.metalora.train;

import io.metalora.config.TrainConfig;
import io.metalora.random.CounterRandom;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import java.util.TreeMap;

/** The samples of all tasks mixed: every epoch goes through all of them in an order of its own, a batch a step. */
final class MixedSamples {

    /**
     * @param slot  the task's place among the tasks
     * @param index of the sample in its task
     */
    record Sample(int slot, EncodedTask task, int index) {

        EncodedExample example() {
            return task.examples().get(index);
        }
    }

    private final List<Sample> samples;
    private final int batchSize;
    private final long stepsPerEpoch;
    private final long steps;
    private final long seed;
    private long orderedEpoch = -1;
    private int[] order;

    /** @param seed of the orders */
    MixedSamples(List<EncodedTask> tasks, TrainConfig.Joint options, long seed) {
        var all = new ArrayList<Sample>();
        for (int slot = 0; slot < tasks.size(); slot++) {
            for (int i = 0; i < tasks.get(slot).examples().size(); i++) {
                all.add(new Sample(slot, tasks.get(slot), i));
            }
        }
        this.samples = List.copyOf(all);
        this.batchSize = batchSize(tasks, options);
        this.stepsPerEpoch = Math.ceilDiv(samples.size(), batchSize);
        this.steps = stepsPerEpoch * options.epochs();
        this.seed = seed;
    }

    /** Samples of the largest batch. */
    static int batchSize(List<EncodedTask> tasks, TrainConfig.Joint options) {
        return Math.min(options.batchSize(), tasks.stream().mapToInt(task -> task.examples().size()).sum());
    }

    /** Of all epochs. */
    long steps() {
        return steps;
    }

    /** The samples of a step, counted from 0; the last one of an epoch takes what is left. */
    List<Sample> batch(long step) {
        long epoch = step / stepsPerEpoch;
        if (epoch != orderedEpoch) {
            order = new CounterRandom(seed, CounterRandom.Purpose.EPOCH, epoch).distinct(samples.size(), samples.size());
            orderedEpoch = epoch;
        }
        int from = (int) (step % stepsPerEpoch) * batchSize;
        return Arrays.stream(order, from, Math.min(samples.size(), from + batchSize)).mapToObj(samples::get).toList();
    }

    /** What of each task is in a batch, by the tasks' names. */
    static List<IterationReport.Draw> draws(List<Sample> batch) {
        var lines = new TreeMap<String, List<Integer>>();
        for (Sample sample : batch) {
            lines.computeIfAbsent(sample.task.name(), name -> new ArrayList<>()).add(sample.task.line(sample.index));
        }
        return lines.entrySet().stream().map(entry -> new IterationReport.Draw(entry.getKey(), List.of(), entry.getValue(),
                OptionalDouble.empty())).toList();
    }
}
