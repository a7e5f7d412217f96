package io.metalora.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.config.TrainConfig;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import io.metalora.task.EpisodeSource;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/** The draws of an earlier run once more: the same tasks, support and query samples in each iteration, from its draws.jsonl. */
final class Replay implements EpisodeSource {

    private static final String ADVICE = "; give the draws.jsonl of a run with these tasks, samples and sizes";

    private final List<List<Episode>> iterations;
    private final String digest;

    private Replay(List<List<Episode>> iterations, String digest) {
        this.iterations = iterations;
        this.digest = digest;
    }

    /** Of the file that was read. */
    String digest() {
        return digest;
    }

    /**
     * Reads the log and checks all of it.
     *
     * @throws InputException if it is damaged, is of other tasks, samples or sizes, or has fewer iterations than the config; it
     *                        names file and line
     */
    static Replay read(Path file, List<EncodedTask> tasks, TrainConfig config) {
        long length;
        try {
            length = Files.size(file);
        } catch (IOException e) {
            throw new InputException("meta.replay: " + file + " can't be read: " + FileFailure.reason(e), e);
        }
        String digest = RunStart.digest(file);
        var known = new HashMap<String, Task>();
        var recorded = new HashSet<String>(); // tasks whose samples are those of then
        tasks.forEach(task -> known.put(task.name(), new Task(task)));
        var iterations = new ArrayList<List<Episode>>();
        RunLog.read(file, length, ADVICE, line -> {
            if (RunLines.isSubset(line)) {
                recorded.add(requireSame(line, known));
            } else {
                RunLines.requireIteration(line, iterations.size() + 1L);
                iterations.add(episodes(line, known, recorded, config.meta()));
            }
        });
        if (iterations.size() < config.meta().iterations()) {
            throw new InputException("meta.replay: " + file + " has the draws of " + iterations.size() + " iterations, fewer than meta.iterations, which is "
                    + config.meta().iterations() + "; lower it, or give the log of a longer run");
        }
        return new Replay(List.copyOf(iterations), digest);
    }

    /** A task, with the place of each of its samples by its line in the training split. */
    private record Task(EncodedTask task, Map<Integer, Integer> places) {

        Task(EncodedTask task) {
            this(task, new HashMap<>());
            for (int i = 0; i < task.examples().size(); i++) {
                places.put(task.line(i), i);
            }
        }
    }

    private static Task named(JsonNode name, Map<String, Task> known) {
        Task task = name.isTextual() ? known.get(name.asText()) : null;
        if (task == null) {
            throw new InputException("it draws from task " + Shown.quoted(name.asText()) + ", which is none of this run's");
        }
        return task;
    }

    private static String requireSame(ObjectNode subset, Map<String, Task> known) {
        Task task = named(subset.path("task"), known);
        if (!RunLines.subset(task.task()).equals(subset)) {
            throw new InputException("the training examples of task " + Shown.quoted(task.task().name()) + " are not those that were drawn from then");
        }
        return task.task().name();
    }

    private static List<Episode> episodes(ObjectNode line, Map<String, Task> known, Set<String> recorded, TrainConfig.Meta meta) {
        JsonNode draws = line.path("draws");
        if (!draws.isArray() || draws.size() != meta.tasksPerIteration()) {
            throw new InputException("it has the draws of " + draws.size() + " tasks, but meta.tasks_per_iteration is " + meta.tasksPerIteration());
        }
        int supportSize = meta.innerSteps() == 0 ? 0 : meta.supportSize();
        var episodes = new ArrayList<Episode>();
        var drawn = new HashSet<String>();
        for (JsonNode draw : draws) {
            Task task = named(draw.path("task"), known);
            String name = task.task().name();
            if (!recorded.contains(name)) {
                throw new InputException("it draws from task " + Shown.quoted(name) + ", of whose samples the log has no line");
            }
            int[] support = places(draw, "support", supportSize, "meta.support_size", task);
            int[] query = places(draw, "query", meta.querySize(), "meta.query_size", task);
            if (!drawn.add(name) || IntStream.concat(Arrays.stream(support), Arrays.stream(query)).distinct().count() < support.length + query.length) {
                throw new InputException("it draws task " + Shown.quoted(name) + ", or a sample of it, twice");
            }
            episodes.add(new Episode(task.task(), support, query));
        }
        return List.copyOf(episodes);
    }

    private static int[] places(JsonNode draw, String set, int size, String key, Task task) {
        JsonNode lines = draw.path(set);
        if (!(lines.isArray() || size == 0 && lines.isMissingNode()) || lines.size() != size) {
            throw new InputException("it has " + lines.size() + " " + set + " samples of task " + Shown.quoted(task.task().name()) + ", but " + key + " is "
                    + size + (size == 0 ? " without inner steps" : ""));
        }
        var places = new int[size];
        for (int i = 0; i < size; i++) {
            Integer place = lines.get(i).isIntegralNumber() && lines.get(i).canConvertToInt() ? task.places().get(lines.get(i).intValue()) : null;
            if (place == null) {
                throw new InputException("it draws sample " + Shown.quoted(lines.get(i).asText()) + " of task " + Shown.quoted(task.task().name())
                        + ", which training may not see (data.samples_per_task)");
            }
            places[i] = place;
        }
        return places;
    }

    @Override
    public List<Episode> draw(long iteration) {
        return iterations.get(Math.toIntExact(iteration));
    }

    @Override
    public void observe(double[] queryLoss, double[] cosines) {
        // What is drawn is given.
    }

    @Override
    public float[] state() {
        return new float[0];
    }

    @Override
    public void restore(float[] state) {
        // There is none.
    }
}
