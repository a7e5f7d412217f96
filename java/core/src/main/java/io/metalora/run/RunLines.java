package io.metalora.run;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.config.TrainConfig;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.train.IterationReport;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.zip.CRC32C;

/** The lines of a run's logs. docs/configuration.md describes them. */
final class RunLines {

    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private RunLines() {
    }

    /** metrics.jsonl: only {@code seconds} and {@code tokens_per_second} differ between two runs of the same config. */
    static ObjectNode metrics(IterationReport report) {
        ObjectNode line = JSON.objectNode();
        line.put("iteration", report.iteration());
        line.put("lr", report.lr());
        if (Double.isFinite(report.loss())) { // of separate LoRA there is none where the last task diverges
            line.put("loss", report.loss());
            line.put("gradient_norm", report.gradientNorm());
        }
        report.supportLossBefore().ifPresent(loss -> line.put("support_loss_before", loss));
        report.supportLossAfter().ifPresent(loss -> line.put("support_loss_after", loss));
        if (!report.tasks().isEmpty()) {
            ArrayNode tasks = line.putArray("tasks");
            for (IterationReport.TaskReport task : report.tasks()) {
                ObjectNode entry = tasks.addObject();
                entry.put("task", task.task());
                ArrayNode support = entry.putArray("support_loss");
                for (double loss : task.supportLoss()) {
                    support.add(loss);
                }
                task.adaptedLoss().ifPresent(loss -> entry.put("adapted_loss", loss));
                entry.put("query_loss", task.queryLoss());
                entry.put("gradient_norm", task.gradientNorm());
            }
            ArrayNode cosines = line.putArray("gradient_cosines");
            for (int i = 0; i < report.gram().size(); i++) {
                ArrayNode values = cosines.addArray();
                for (int j = 0; j < report.gram().size(); j++) {
                    values.add(report.gram().cosine(i, j));
                }
            }
        }
        if (!report.innerRates().isEmpty()) {
            ObjectNode rates = line.putObject("inner_rates");
            report.innerRates().forEach(rates::put);
        }
        line.put("tokens", report.tokens());
        line.put("seconds", report.seconds());
        line.put("tokens_per_second", report.tokensPerSecond());
        return line;
    }

    /** inner_rates.json: what stage 1 moves of each Linear, by what, and at which rate. */
    static byte[] innerRates(TrainConfig.Meta meta, Map<String, Float> learned) {
        ObjectNode root = JSON.objectNode();
        root.put("adapts", meta.adapts().toString());
        root.put("inner_optimizer", meta.innerOptimizer().name().toLowerCase(Locale.ROOT));
        ArrayNode rates = root.putArray("rates");
        learned.forEach((linear, rate) -> rates.addObject().put("linear", linear).put("rate", rate));
        return (root.toPrettyString() + "\n").getBytes(StandardCharsets.UTF_8);
    }

    /** draws.jsonl, one line per task before training: the training examples that may be drawn, and a digest of their ids. */
    static ObjectNode subset(EncodedTask task) {
        ObjectNode line = JSON.objectNode();
        line.put("task", task.name());
        numbers(line.putArray("samples"), task.lines());
        line.put("digest", digest(task));
        if (task.dropped() > 0) {
            line.put("dropped", task.dropped());
        }
        if (task.truncated() > 0) {
            line.put("truncated", task.truncated());
        }
        return line;
    }

    /** Of all ids, so that a resumed run notices that its data have changed. */
    private static String digest(EncodedTask task) {
        var crc = new CRC32C();
        var number = ByteBuffer.allocate(Integer.BYTES);
        for (EncodedExample example : task.examples()) {
            crc.update(number.putInt(0, example.promptLength()).rewind());
            for (int id : example.ids()) {
                crc.update(number.putInt(0, id).rewind());
            }
            for (int i = 0; i < example.length() && !example.isPromptAndCompletion(); i++) {
                crc.update(example.isTrained(i) ? 1 : 0);
            }
        }
        return String.format(Locale.ROOT, "%08x", crc.getValue());
    }

    /** Whether a line of draws.jsonl is a task's. */
    static boolean isSubset(ObjectNode line) {
        return line.has("samples");
    }

    /** A task's line without what depends on the tokenizer. */
    static ObjectNode withoutDigest(ObjectNode subset) {
        ObjectNode rest = subset.deepCopy();
        rest.remove("digest");
        return rest;
    }

    /**
     * Checks that a line of either log is that of an iteration.
     *
     * @throws InputException if it is of another, or of none
     */
    static void requireIteration(ObjectNode line, long iteration) {
        JsonNode number = line.path("iteration");
        if (!number.canConvertToLong() || number.longValue() != iteration) {
            throw new InputException("the line is damaged: it must be that of iteration " + iteration);
        }
    }

    /** draws.jsonl, one line an iteration. */
    static ObjectNode draws(long iteration, List<IterationReport.Draw> draws) {
        ObjectNode line = JSON.objectNode();
        line.put("iteration", iteration);
        ArrayNode array = line.putArray("draws");
        for (IterationReport.Draw draw : draws) {
            ObjectNode entry = array.addObject();
            entry.put("task", draw.task());
            draw.probability().ifPresent(probability -> entry.put("probability", probability));
            draw.support().forEach(entry.putArray("support")::add);
            draw.query().forEach(entry.putArray("query")::add);
        }
        return line;
    }

    private static void numbers(ArrayNode array, int[] values) {
        for (int value : values) {
            array.add(value);
        }
    }
}
