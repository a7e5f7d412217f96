package io.metalora.task;

import java.util.Arrays;
import java.util.List;

/**
 * What one task contributes to a meta-iteration: a support set to adapt on and a query set, disjoint from it, to judge
 * the adapted parameters by.
 *
 * @param task    the task drawn from
 * @param support positions in {@link EncodedTask#examples()}
 * @param query   likewise; no position is in both
 */
public record Episode(EncodedTask task, int[] support, int[] query) {

    public List<EncodedExample> supportExamples() {
        return Arrays.stream(support).mapToObj(task.examples()::get).toList();
    }

    public List<EncodedExample> queryExamples() {
        return Arrays.stream(query).mapToObj(task.examples()::get).toList();
    }

    /** The support samples' indices in the task's training split, as the log of draws shows them. */
    public int[] supportLines() {
        return Arrays.stream(support).map(i -> task.lines()[i]).toArray();
    }

    /** The query samples' indices in the task's training split. */
    public int[] queryLines() {
        return Arrays.stream(query).map(i -> task.lines()[i]).toArray();
    }
}
