package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ExampleFileTest {

    private static final String GOOD = "{\"prompt\": \"1 + 1 =\", \"completion\": \" 2\"}\n";

    @TempDir
    Path folder;
    private Path file;

    @BeforeEach
    void name() {
        file = folder.resolve("train.jsonl");
    }

    @Test
    void readsLinesInOrderWithTheirPlaces() throws IOException {
        Files.writeString(file, GOOD + "\n" + "{\"id\": 7, \"prompt\": \"é\\n\", \"completion\": \" ü\"}");

        assertThat(ExampleFile.read(file)).containsExactly(
                new Example("1 + 1 =", " 2", file + ":1"),
                new Example("é\n", " ü", file + ":3"));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"prompt": "a", "completion": "b"        | malformed JSON at column
            {"prompt": "a", "completion": "b"} {}    | more text follows the value
            {"prompt": "a", "prompt": "b"}           | malformed JSON at column
            ["a", "b"]                               | must be a JSON object with prompt and completion, not array
            {"completion": "b"}                      | the key "prompt" is missing
            {"prompt": "a"}                          | the key "completion" is missing
            {"prompt": "a", "completion": 2}         | "completion" must be a string, but is 2
            {"prompt": "a", "completion": ""}        | the completion is empty
            """)
    void namesFileLineAndReason(String line, String reason) throws IOException {
        Files.writeString(file, GOOD + GOOD + line + "\n" + GOOD);

        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ":3: ").hasMessageContaining(reason);
    }

    @Test
    void refusesWhatIsNotUtf8() throws IOException {
        Files.write(file, (GOOD + "{\"prompt\": \"é\", \"completion\": \"b\"}").getBytes(StandardCharsets.ISO_8859_1));

        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ":2: not UTF-8");
    }

    @Test
    void refusesMissingAndEmptyFiles() throws IOException {
        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageContaining("no such file");
        Files.writeString(file, "\n\n");
        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageContaining("no examples");
    }

    @Test
    void skipsByteOrderMarksAndTakesAnyLineEnd() throws IOException {
        Files.writeString(file, "\ufeff" + GOOD.strip() + "\r\n" + "\ufeff" + GOOD + "\r\n" + GOOD.strip());

        assertThat(ExampleFile.read(file)).extracting(Example::source).containsExactly(file + ":1", file + ":2", file + ":4");
    }

    @Test
    void saysWhatTheFileIsInstead() throws IOException {
        Files.write(file, GOOD.getBytes(StandardCharsets.UTF_16));
        assertThatThrownBy(() -> ExampleFile.read(file)).hasMessageStartingWith(file.toString()).hasMessageContaining("is UTF-16");
        Files.write(file, GOOD.getBytes(StandardCharsets.UTF_16LE));
        assertThatThrownBy(() -> ExampleFile.read(file)).hasMessageContaining("is UTF-16");
        Files.write(file, new byte[] {0x1f, (byte) 0x8b, 8, 0});
        assertThatThrownBy(() -> ExampleFile.read(file)).hasMessageContaining("gzip-compressed");
        assertThatThrownBy(() -> ExampleFile.read(folder)).isInstanceOf(InputException.class).hasMessageContaining("is a folder");
        Files.createSymbolicLink(folder.resolve("link.jsonl"), folder.resolve("nowhere"));
        assertThatThrownBy(() -> ExampleFile.read(folder.resolve("link.jsonl"))).hasMessageContaining("a link that leads nowhere");
    }

    /** Lines longer than the buffer, ending anywhere in it. */
    @Test
    void readsLinesOfAnyLength() throws IOException {
        var random = new Random(1);
        var lengths = new ArrayList<Integer>();
        try (var out = Files.newBufferedWriter(file)) {
            for (int i = 0; i < 200; i++) {
                int length = random.nextInt(10) == 0 ? 65_400 + random.nextInt(200) : random.nextInt(2000);
                lengths.add(length);
                out.write("{\"prompt\": \"" + "\u00e9".repeat(length) + "\", \"completion\": \" b\"}\n");
            }
        }
        List<Example> examples = ExampleFile.read(file);
        assertThat(examples).extracting(example -> example.prompt().length()).containsExactlyElementsOf(lengths);
        assertThat(examples.getLast().source()).isEqualTo(file + ":200");
    }

    @Test
    void boundsALineAndWhatItHolds() throws IOException {
        try (var out = new RandomAccessFile(file.toFile(), "rw")) {
            out.write(GOOD.getBytes(StandardCharsets.UTF_8));
            out.write("{\"prompt\": \"".getBytes(StandardCharsets.UTF_8));
            out.setLength(100 << 20);
        }
        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":2: the line has more than 64 MiB");
        Files.writeString(file, GOOD.repeat(1000));
        assertThatThrownBy(() -> ExampleFile.read(file, ReadOptions.NONE, new HeapShare(100_000))).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file.toString()).hasMessageContaining("of the Java heap").hasMessageContaining("-Xmx");
        assertThat(ExampleFile.read(file, ReadOptions.NONE, new HeapShare(1_000_000))).hasSize(1000);
    }

    /** Their ids take room beside them, and the run too. */
    @Test
    void textsMayTakeAQuarterOfTheHeap() {
        String megabytes = "\u0100".repeat(1 << 20); // two bytes a character
        var share = new HeapShare();
        long fit = Runtime.getRuntime().maxMemory() / 4 / (2 << 20);
        for (int i = 0; i + 1 < fit; i++) {
            share.add(new Example(megabytes, "", ""), file, i + 1);
        }
        assertThatThrownBy(() -> {
            share.add(new Example(megabytes, "", ""), file, 1);
            share.add(new Example(megabytes, "", ""), file, 2);
        }).isInstanceOf(InputException.class).hasMessageContaining("a quarter of the Java heap");
    }
}
