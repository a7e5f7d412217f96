package io.metalora.launcher;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.config.Protocol.Row;
import io.metalora.eval.TaskItems;
import io.metalora.eval.TaskResult;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * What one cell gave: an arm with the settings of one trial and one seed.
 *
 * @param rows       what was answered
 * @param training   of the shared adapter, which cells of the same settings and seed share; zero where there was none
 * @param peakMemory of the process in bytes while the cell ran; empty where the system doesn't tell
 * @param diverged   how it diverged (NaN or infinity); then there are no rows
 * @param device     where it was computed
 */
record CompareCell(Map<Row, Answers> rows, Cost training, OptionalLong peakMemory, Optional<String> diverged, String device) {

    /**
     * What a cell is of.
     *
     * @param settings of the trial, as the protocol varies them
     */
    record Of(String arm, long seed, Map<String, String> settings) {
    }

    /**
     * Of one row.
     *
     * @param results one a task, in the tasks' order
     * @param tokens  that adapting took, of all tasks together; seconds likewise
     */
    record Answers(List<TaskResult> results, long tokens, double seconds) {
    }

    /**
     * What a training took, whether or not it was stopped in between.
     *
     * @param tokens  that went forward and backward through the model
     * @param seconds of all iterations, without what was measured along them
     * @param track   the accuracy along it; empty where none was asked for
     */
    record Cost(long iterations, long tokens, double seconds, List<Point> track) {

        static final Cost NONE = new Cost(0, 0, 0, List.of());

        static Cost of(JsonNode json) {
            var track = new ArrayList<Point>();
            json.path("track").forEach(point -> track.add(new Point(point.path("iteration").asLong(), point.path("tokens").asLong(),
                    point.path("seconds").asDouble(), point.path("accuracy").asDouble())));
            return new Cost(json.path("iterations").asLong(), json.path("tokens").asLong(), json.path("seconds").asDouble(),
                    track);
        }

        /** Whether a training can have cost that; a number that no double holds is read as infinite. */
        boolean isPossible() {
            return iterations >= 0 && tokens >= 0 && isTime(seconds) && track.stream().allMatch(Point::isPossible);
        }

        /** Into the object; returns it. */
        ObjectNode put(ObjectNode json) {
            json.put("iterations", iterations).put("tokens", tokens).put("seconds", seconds);
            if (!track.isEmpty()) {
                var points = json.putArray("track");
                track.forEach(point -> points.addObject().put("iteration", point.iteration()).put("tokens", point.tokens())
                        .put("seconds", point.seconds()).put("accuracy", point.accuracy()));
            }
            return json;
        }
    }

    /**
     * What a training had come to.
     *
     * @param tokens   that it had taken until then; seconds likewise
     * @param accuracy mean over the trained tasks, on dev items; a share of 1
     */
    record Point(long iteration, long tokens, double seconds, double accuracy) {

        private boolean isPossible() {
            return iteration > 0 && tokens >= 0 && isTime(seconds) && accuracy >= 0 && accuracy <= 1;
        }
    }

    private static boolean isTime(double seconds) {
        return seconds >= 0 && Double.isFinite(seconds);
    }

    /** One that diverged (NaN or infinity). */
    static CompareCell diverged(Cost training, String how) {
        return new CompareCell(Map.of(), training, OptionalLong.empty(), Optional.of(how), "");
    }

    /** With where and in how much memory it was computed. */
    CompareCell computed(String on, OptionalLong peak) {
        return new CompareCell(rows, training, peak, diverged, on);
    }

    /** As the cell's file holds it. */
    ObjectNode json(Of of) {
        ObjectNode json = head(of).put("device", device);
        training.put(json.putObject("training"));
        peakMemory.ifPresent(bytes -> json.put("peak_memory", bytes));
        diverged.ifPresent(how -> json.put("diverged", how));
        var list = json.putArray("rows");
        rows.forEach((row, answers) -> {
            ObjectNode one = list.addObject().put("on", row.on().toString()).put("samples", row.samples()).put("tokens", answers.tokens())
                    .put("seconds", answers.seconds());
            ObjectNode tasks = one.putObject("correct");
            answers.results().forEach(result -> tasks.put(result.task(), result.digits()));
        });
        return json;
    }

    private static ObjectNode head(Of of) {
        ObjectNode json = JsonNodeFactory.instance.objectNode().put("arm", of.arm()).put("seed", of.seed());
        ObjectNode set = json.putObject("settings");
        of.settings().forEach(set::put);
        return json;
    }

    /**
     * From the cell's file.
     *
     * @param of    what the cell has to be of
     * @param items for each row the items that are answered
     * @return empty if the file is not of these
     */
    static Optional<CompareCell> of(JsonNode json, Of of, Map<Row, List<TaskItems>> items) {
        ObjectNode head = head(of);
        if (!json.path("arm").equals(head.get("arm")) || json.path("seed").asLong() != of.seed()
                || !json.path("settings").equals(head.get("settings"))) {
            return Optional.empty();
        }
        Cost cost = Cost.of(json.path("training"));
        if (!cost.isPossible() || !isWritable(json.path("device").asText())) {
            return Optional.empty();
        }
        OptionalLong peak = json.has("peak_memory") ? OptionalLong.of(json.get("peak_memory").asLong()) : OptionalLong.empty();
        String device = json.path("device").asText();
        Optional<String> diverged = divergedIn(json);
        if (diverged.isPresent()) {
            return Optional.of(new CompareCell(Map.of(), cost, peak, diverged, device));
        }
        var rows = new LinkedHashMap<Row, Answers>();
        for (Row row : items.keySet()) {
            for (JsonNode one : json.path("rows")) {
                if (one.path("on").asText().equals(row.on().toString()) && one.path("samples").asInt() == row.samples()) {
                    var results = new ArrayList<TaskResult>();
                    for (TaskItems task : items.get(row)) {
                        Optional<TaskResult> result = task.result(one.path("correct").path(task.task()).asText());
                        if (result.isEmpty()) {
                            return Optional.empty();
                        }
                        results.add(result.get());
                    }
                    double seconds = one.path("seconds").asDouble();
                    long tokens = one.path("tokens").asLong();
                    if (!isTime(seconds) || tokens < 0) {
                        return Optional.empty();
                    }
                    rows.put(row, new Answers(results, tokens, seconds));
                }
            }
        }
        return rows.size() != items.size() ? Optional.empty()
                : Optional.of(new CompareCell(rows, cost, peak, Optional.empty(), device));
    }

    /** How a cell or a training diverged, by its file; empty if it did not. */
    static Optional<String> divergedIn(JsonNode json) {
        return Optional.of(json.path("diverged")).filter(JsonNode::isTextual).map(JsonNode::asText).filter(CompareCell::isWritable);
    }

    /** Half of a surrogate pair has no UTF-8: what is read with one would be written as another text. */
    private static boolean isWritable(String text) {
        return StandardCharsets.UTF_8.newEncoder().canEncode(text);
    }

    /** The mean accuracy of a row; not a number where the cell diverged. */
    double accuracy(Row row) {
        return rows.containsKey(row) ? TaskResult.macroMean(rows.get(row).results()) : Double.NaN;
    }
}
