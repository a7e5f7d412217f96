package io.metalora.task;

import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;

/** Draws the meta-batch of an iteration: the tasks, and from each a disjoint support and query set. */
public final class EpisodeSampler {

    private final List<EncodedTask> tasks;
    private final Composition composition;
    private final int support;
    private final int query;
    private final long seed;

    /**
     * @param support support samples a task; 0 where there are no inner steps
     * @param query   query samples a task; at least 1
     * @throws InputException if a task has fewer samples than support + query
     */
    public EpisodeSampler(List<EncodedTask> tasks, Composition composition, int support, int query, long seed) {
        if (support < 0 || query < 1) {
            throw new IllegalArgumentException("support " + support + ", query " + query);
        }
        for (EncodedTask task : tasks) {
            if (task.examples().size() < (long) support + query) {
                throw new InputException("task " + task.name() + " has " + task.examples().size() + " samples, fewer than the "
                        + support + " of support and the " + query + " of query together; give it more samples, lower "
                        + "meta.support_size or meta.query_size, or raise data.samples_per_task");
            }
        }
        this.tasks = List.copyOf(tasks);
        this.composition = composition;
        this.support = support;
        this.query = query;
        this.seed = seed;
    }

    /** What chooses the tasks. */
    public Composition composition() {
        return composition;
    }

    /** One episode a slot. */
    public List<Episode> draw(long iteration) {
        return Arrays.stream(composition.draw(iteration)).mapToObj(index -> {
            EncodedTask task = tasks.get(index);
            int[] drawn = new CounterRandom(seed, CounterRandom.Purpose.EPISODE, iteration, task.name())
                    .distinct(support + query, task.examples().size());
            return new Episode(task, Arrays.copyOf(drawn, support), Arrays.copyOfRange(drawn, support, support + query));
        }).toList();
    }
}
