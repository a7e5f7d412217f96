package io.metalora.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.eval.EvaluationLog.Settings;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class EvaluationLogTest {

    private static final Settings SETTINGS = new Settings(Split.TEST, 4, 0, "model", "abc");

    @TempDir
    private Path folder;

    private Path file;
    private TaskItems small;
    private TaskItems large;
    private List<TaskItems> items;

    @BeforeEach
    void items() {
        file = folder.resolve("evaluation.jsonl");
        small = TaskItems.of(TaskItemsTest.task("small", 2, "a", "b"), Split.TEST, 4);
        large = TaskItems.of(TaskItemsTest.task("large", 50, "a", "b"), Split.TEST, 4);
        items = List.of(small, large);
    }

    private EvaluationLog open() {
        return EvaluationLog.open(file, SETTINGS, items);
    }

    private void begin() {
        try (var log = open()) {
            log.add("base", small, 0, new boolean[] {true, false});
            log.add("base", large, 0, new boolean[] {true, true, false});
            log.add("shared \"x\"", large, 1, new boolean[] {false});
        }
    }

    private void isBegun(EvaluationLog log) {
        assertThat(log.answered("base")).isEqualTo(5);
        assertThat(log.answered("shared \"x\"")).isEqualTo(1);
        assertThat(log.answered("other")).isZero();
        assertThat(log.complete("base", small)).isTrue();
        assertThat(log.complete("base", large)).isFalse();
        assertThat(log.open("base", large, 0)).isEqualTo(3);
        assertThat(log.open("shared \"x\"", large, 0)).isZero();
        assertThat(log.closed("shared \"x\"", large, 0)).isEqualTo(1);
        assertThat(log.open("shared \"x\"", large, 1)).isEqualTo(2);
        assertThat(log.results("base")).singleElement().satisfies(result -> {
            assertThat(result.task()).isEqualTo("small");
            assertThat(result.correct()).containsExactly(true, false);
        });
    }

    @Test
    void answersOutliveTheProcess() throws IOException {
        begin();
        assertThat(EvaluationLog.settings(file)).contains(SETTINGS);
        assertThat(Files.readString(file)).contains("\"items\":[", "\"of\":50");
        try (var log = open()) {
            isBegun(log);
            log.add("base", large, 3, new boolean[] {true});
        }
        try (var log = open()) {
            assertThat(log.results("base")).hasSize(2);
            assertThat(log.results("base").get(1).correct()).containsExactly(true, true, false, true);
        }
    }

    @Test
    void aLineThatIsNotWholeIsCutOff() throws IOException {
        begin();
        byte[] whole = Files.readAllBytes(file);
        for (String torn : new String[] {"{\"arm\":\"base\",\"task\":\"large\",\"from\":3,\"correct\":\"1\"}", "{\"arm\":", "garbage\n",
                "{\"arm\":\"base\",\"task\":\"large\",\"from\":3,\"correct\":\"12\"}\n",
                "{\"arm\":\"base\",\"task\":\"large\",\"from\":3,\"correct\":\"11\"}\n",
                answer("2147483647", "1"), answer("2147483647", "11"), answer("2147483646", "1"), answer("4294967299", "1"),
                answer("3.5", "1"), answer("\"3\"", "1"), answer("-1", "1"), answer("3", "1").replace("\n", " {}\n"),
                "{\"arm\":\"base\",\"task\":\"unknown\",\"from\":0,\"correct\":\"1\"}\n"}) {
            Files.write(file, whole);
            Files.writeString(file, torn, StandardOpenOption.APPEND);
            try (var log = open()) {
                isBegun(log);
            }
            assertThat(file).hasBinaryContent(whole);
        }
    }

    private static String answer(String from, String correct) {
        return "{\"arm\":\"base\",\"task\":\"large\",\"from\":" + from + ",\"correct\":\"" + correct + "\"}\n";
    }

    @Test
    void otherSettingsOrItemsBeginAnew() throws IOException {
        List<TaskItems> others = List.of(small, TaskItems.of(TaskItemsTest.task("large", 51, "a", "b"), Split.TEST, 4));
        List<TaskItems> changed = List.of(TaskItems.of(TaskItemsTest.task("small", 2, "a", "c"), Split.TEST, 4), large);
        for (var other : List.of(others, changed)) {
            begin();
            try (var log = EvaluationLog.open(file, SETTINGS, other)) {
                assertThat(log.answered("base")).isZero();
            }
            Files.delete(file);
        }
        for (var other : List.of(new Settings(Split.TEST, 4, 0, "model", "another adapter"),
                new Settings(Split.TEST, 4, 0, "another model", "abc"))) {
            begin();
            try (var log = EvaluationLog.open(file, other, items)) {
                assertThat(log.answered("base")).isZero();
            }
        }
        assertThat(Files.readAllLines(file)).hasSize(3);
    }

    @Test
    void whateverIsInTheFileNothingFails() throws IOException {
        for (String text : new String[] {"", "\n", "null\n", "[]", "{\"split\":\"test\"}\n", "\0\0\0", "{\"split\":\"nonsense\"}\n"}) {
            Files.writeString(file, text);
            EvaluationLog.settings(file);
            try (var log = open()) {
                assertThat(log.answered("base")).isZero();
            }
            begin();
            try (var log = open()) {
                isBegun(log);
            }
            Files.delete(file);
        }
        assertThat(EvaluationLog.settings(file)).isEmpty();
    }

    /** A line that does not end is not read for ever, nor into memory as a whole. */
    @Test
    void anEndlessLineIsNotRead() throws IOException {
        for (boolean begun : new boolean[] {false, true}) {
            if (begun) {
                begin();
            }
            try (var sparse = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                sparse.write(ByteBuffer.wrap(new byte[] {' '}), 4L << 30);
            }
            assertThat(EvaluationLog.settings(file)).isEqualTo(begun ? Optional.of(SETTINGS) : Optional.empty());
            try (var log = open()) {
                assertThat(log.answered("base")).isEqualTo(begun ? 5 : 0);
            }
            assertThat(Files.size(file)).isLessThan(10_000);
            Files.delete(file);
        }
    }

    @Test
    void twoAtATimeAreRefused() {
        try (var log = open()) {
            assertThatThrownBy(this::open).isInstanceOf(InputException.class).hasMessageContaining(file.toString());
            log.add("base", small, 0, new boolean[] {true, true});
        }
        try (var log = open()) {
            assertThat(log.answered("base")).isEqualTo(2);
        }
    }
}
