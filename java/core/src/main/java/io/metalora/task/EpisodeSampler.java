package io.metalora.task;

import io.metalora.random.CounterRandom;
import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;

/** Draws the meta-batch of an iteration: the tasks, and from each a disjoint support and query set. */
public final class EpisodeSampler implements EpisodeSource {

    private final List<EncodedTask> tasks;
    private final Composition composition;
    private final int support;
    private final int query;
    private final long seed;
    private int[] drawn = {}; // tasks of the last draw

    /**
     * @param support support samples per task; 0 where there are no inner steps
     * @param query   query samples per task; at least 1
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

    @Override
    public List<Episode> draw(long iteration) {
        List<Composition.Drawn> chosen = composition.draw(iteration);
        drawn = chosen.stream().mapToInt(Composition.Drawn::task).toArray();
        return chosen.stream().map(of -> {
            EncodedTask task = tasks.get(of.task());
            int[] samples = new CounterRandom(seed, CounterRandom.Purpose.EPISODE, iteration, task.name())
                    .distinct(support + query, task.examples().size());
            return new Episode(task, Arrays.copyOf(samples, support), Arrays.copyOfRange(samples, support, support + query), of.probability());
        }).toList();
    }

    @Override
    public void observe(double[] queryLoss, double[] cosines) {
        composition.observe(drawn, queryLoss, cosines);
    }

    @Override
    public float[] state() {
        return composition.state();
    }

    @Override
    public void restore(float[] state) {
        composition.restore(state);
    }
}
