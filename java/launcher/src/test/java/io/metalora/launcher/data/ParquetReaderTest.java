package io.metalora.launcher.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import io.metalora.task.Columns;
import io.metalora.task.Example;
import io.metalora.task.ExampleFile;
import io.metalora.task.ReadOptions;
import io.metalora.task.TaskFolder;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The files were written by pyarrow: see make_parquet.py. */
class ParquetReaderTest {

    @TempDir
    Path folder;

    private static Path golden(String name) throws URISyntaxException {
        return Path.of(ParquetReaderTest.class.getResource(name).toURI());
    }

    @Test
    void readsWhatPyarrowWrote() throws URISyntaxException {
        for (String name : new String[] {"snappy.parquet", "none.parquet", "gzip.parquet"}) {
            Path file = golden(name);
            assertThat(ExampleFile.read(file)).containsExactly(new Example("a", " b", file + ":1"), new Example("\u00e9 \u4e2d", " c", file + ":2"));
        }
    }

    @Test
    void readsConversations() throws URISyntaxException {
        var options = new ReadOptions(Columns.NONE, () -> (messages, generation) -> {
            var text = new StringBuilder();
            messages.forEach(message -> text.append(message.role().charAt(0)).append(':').append(message.content()).append('\n'));
            return text + (generation ? "a:" : "");
        });

        assertThat(ExampleFile.read(golden("chat.parquet"), options)).extracting(Example::prompt, Example::completion).containsExactly(
                org.assertj.core.groups.Tuple.tuple("u:2 + 2?\na:", "4"), org.assertj.core.groups.Tuple.tuple("u:Hi\na:", "Hello"));
    }

    @Test
    void aTaskMayHoldIt() throws IOException, URISyntaxException {
        Path task = Files.createDirectories(folder.resolve("tasks/t"));
        Files.copy(golden("snappy.parquet"), task.resolve("train.parquet"));

        assertThat(TaskFolder.read(folder.resolve("tasks")).getFirst().train()).hasSize(2);
    }

    @Test
    void refusesWhatIsNotParquet() throws IOException, URISyntaxException {
        Path file = Files.writeString(folder.resolve("train.parquet"), "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageStartingWith(file + " is not a Parquet file");

        byte[] whole = Files.readAllBytes(golden("snappy.parquet"));
        for (int length = 4; length < whole.length; length += 7) {
            Files.write(file, Arrays.copyOf(whole, length));
            assertThatThrownBy(() -> ExampleFile.read(file)).as("%d bytes", length).isInstanceOf(InputException.class)
                    .hasMessageStartingWith(file + ": is damaged");
        }
    }
}
