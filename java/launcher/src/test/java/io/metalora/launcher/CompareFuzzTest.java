package io.metalora.launcher;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.config.Protocol.On;
import io.metalora.config.Protocol.Row;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.task.Example;
import io.metalora.task.Task;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/** The finished cells of a comparison, which the same command goes on with: what is none is computed again. */
class CompareFuzzTest extends MutatedSeeds {

    private static final Path FOLDER = Reading.folder();
    private static final CompareCell.Of OF = new CompareCell.Of("meta", 2, Map.of("optimizer.lr", "0.001"));
    private static final List<TaskItems> TASKS = Stream.of("a", "b").map(CompareFuzzTest::items).toList();
    private static final Map<Row, List<TaskItems>> ITEMS = rows();

    private static TaskItems items(String name) {
        var examples = List.of(new Example("is it?", " yes", "test.jsonl:1"), new Example("is it?", " no", "test.jsonl:2"));
        return TaskItems.of(new Task(name, examples, List.of(), examples), Split.TEST, 0);
    }

    private static Map<Row, List<TaskItems>> rows() {
        var rows = new LinkedHashMap<Row, List<TaskItems>>();
        rows.put(new Row("meta", On.UNSEEN, 8), TASKS);
        rows.put(new Row("meta", On.TRAINED, 0), TASKS);
        return rows;
    }

    /** One that is accepted is the same after it was written and read. */
    @FuzzTest
    void cell(byte[] json) {
        Path file = Reading.write(FOLDER.resolve("seed-2.json"), json);
        Reading.check("seed-2.json", json, () -> read(file).ifPresent(cell -> {
            if (!cell.training().isPossible()
                    || cell.rows().values().stream().anyMatch(answers -> !Double.isFinite(answers.seconds()))) {
                throw new AssertionError("accepted " + cell);
            }
            CompareFolder.write(file, cell.json(OF));
            String written = Json.pretty(cell.json(OF));
            Optional<String> again = read(file).map(same -> Json.pretty(same.json(OF)));
            if (!again.equals(Optional.of(written))) {
                throw new AssertionError(written + "\n" + again);
            }
        }));
    }

    private static Optional<CompareCell> read(Path file) {
        return CompareFolder.read(file).flatMap(json -> CompareCell.of(json, OF, ITEMS));
    }
}
