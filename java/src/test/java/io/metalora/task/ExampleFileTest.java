package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
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
            {"prompt": "a", "completion": "b"} {}    | malformed JSON at column
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
}
