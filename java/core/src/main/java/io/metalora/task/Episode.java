package io.metalora.task;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.stream.IntStream;

/**
 * What one task contributes to a meta-iteration: a support set to adapt on and a query set, disjoint from it, to judge
 * the adapted parameters by.
 */
public final class Episode {

    private final EncodedTask task;
    private final int[] support;
    private final int[] query;
    private final double probability;

    /**
     * @param task    the task drawn from
     * @param support positions in {@link EncodedTask#examples()}; copied
     * @param query   likewise; no position is in both
     */
    public Episode(EncodedTask task, int[] support, int[] query) {
        this(task, support, query, Double.NaN);
    }

    /** @param probability that the task had of being drawn, among those that were left; NaN where it was not drawn by one */
    public Episode(EncodedTask task, int[] support, int[] query, double probability) {
        this.task = Objects.requireNonNull(task, "task");
        this.support = support.clone();
        this.query = query.clone();
        this.probability = probability;
    }

    /** The task drawn from. */
    public EncodedTask task() {
        return task;
    }

    /** With which the task was drawn, among those that were left; empty where it was given. */
    public OptionalDouble probability() {
        return Double.isNaN(probability) ? OptionalDouble.empty() : OptionalDouble.of(probability);
    }

    /** Positions of the support samples in {@link EncodedTask#examples()}. */
    public List<Integer> support() {
        return list(Arrays.stream(support));
    }

    /** Those of the query samples. */
    public List<Integer> query() {
        return list(Arrays.stream(query));
    }

    public List<EncodedExample> supportExamples() {
        return Arrays.stream(support).mapToObj(task.examples()::get).toList();
    }

    public List<EncodedExample> queryExamples() {
        return Arrays.stream(query).mapToObj(task.examples()::get).toList();
    }

    /** The support samples' indices in the task's training split, as the log of draws shows them. */
    public List<Integer> supportLines() {
        return list(Arrays.stream(support).map(task::line));
    }

    /** The query samples' indices in the task's training split. */
    public List<Integer> queryLines() {
        return list(Arrays.stream(query).map(task::line));
    }

    private static List<Integer> list(IntStream values) {
        return values.boxed().toList();
    }
}
