package io.metalora.launcher;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.adapter.LoraAdapter;
import io.metalora.eval.EvaluationLog;
import io.metalora.eval.TaskEvaluator;
import io.metalora.eval.TaskItems;
import io.metalora.eval.TaskResult;
import io.metalora.launcher.CompareCell.Point;
import io.metalora.launcher.report.RunRecord;
import io.metalora.model.AdapterSlots;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.NotFiniteException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/**
 * Accuracy of a shared adapter along its training, on the same few dev items of each task. It is kept in the run's folder as it
 * comes, so that a training that continues measures nothing twice.
 */
final class CompareTrack {

    /** Of a task, where its dev split, or {@code tasks.dev_items}, has no fewer: what is measured so often has to be quick. */
    static final int MOST_ITEMS = 40;

    private static final String FILE = "track.json";
    private static final String ARM = "so far";

    private final int every;
    private final List<TaskItems> items;
    private final Path file;
    private final BooleanSupplier stop;
    private final Map<Long, Double> accuracies = new TreeMap<>(); // by iteration

    /**
     * @param every iterations between measurements; the last one is measured too
     * @param run   the training's folder
     * @param stop  asked before every pass
     */
    CompareTrack(int every, List<TaskItems> items, Path run, BooleanSupplier stop) {
        this.every = every;
        this.items = items;
        this.file = run.resolve(FILE);
        this.stop = stop;
        CompareFolder.read(file).ifPresent(json -> json.path("points").forEach(this::recall));
    }

    /** What is damaged is measured again, if the training comes by. */
    private void recall(JsonNode point) {
        long iteration = point.path("iteration").asLong();
        double accuracy = point.path("accuracy").asDouble(-1);
        if (iteration > 0 && accuracy >= 0 && accuracy <= 1) {
            accuracies.put(iteration, accuracy);
        }
    }

    /**
     * Measures, where it is time for it. An adapter whose results are not finite has no answer right: whether its training has
     * diverged is for the training to find.
     *
     * @throws CancellationException on request; the point is then not there
     */
    void measure(long iteration, long total, LoadedModel loaded, LoraAdapter adapter) {
        if (iteration % every != 0 && iteration != total || accuracies.containsKey(iteration)) {
            return;
        }
        try (var log = EvaluationLog.inMemory(items); var slots = AdapterSlots.of(adapter);
                var evaluator = new TaskEvaluator(loaded.model(), loaded.tokenizer(), slots, stop)) {
            evaluator.evaluate(ARM, items, task -> 0, log, TaskEvaluator.Listener.SILENT);
            accuracies.put(iteration, TaskResult.macroMean(log.results(ARM)));
        } catch (NotFiniteException e) {
            accuracies.put(iteration, 0.0);
        }
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        var points = json.putArray("points");
        accuracies.forEach((at, accuracy) -> points.addObject().put("iteration", at).put("accuracy", accuracy));
        CompareFolder.write(file, json);
    }

    /** What was measured, with what it had cost until then by the run's logs. */
    List<Point> points(RunRecord record) {
        return accuracies.entrySet().stream().filter(point -> point.getKey() <= record.iterations())
                .map(point -> new Point(point.getKey(), record.tokens(point.getKey()), record.seconds(point.getKey()), point.getValue()))
                .toList();
    }
}
