package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NewFolderTest {

    @TempDir
    private Path folder;

    @Test
    void isNotThereWhereItsContentFails() throws IOException {
        Path output = folder.resolve("new/output");
        assertThatThrownBy(() -> NewFolder.make(output, () -> {
            Files.createDirectory(output.resolve("model"));
            Files.writeString(output.resolve("model/part"), "x");
            throw new IOException("no space");
        })).isInstanceOf(IOException.class).hasMessage("no space");
        assertThat(output).doesNotExist();
        assertThat(NewFolder.make(output, () -> Files.writeString(output.resolve("whole"), "x"))).exists();
    }

    @Test
    void isKeptWhereItHoldsSomething() throws IOException {
        Path output = folder.resolve("output");
        NewFolder.make(output);
        Files.writeString(output.resolve("adapter"), "x");
        NewFolder.removeIfEmpty(output);
        assertThat(output.resolve("adapter")).exists();
        Files.delete(output.resolve("adapter"));
        NewFolder.removeIfEmpty(output);
        assertThat(output).doesNotExist();
    }
}
