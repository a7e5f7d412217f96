package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.files.Pipe;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CompareFolderTest {

    private static final String PROTOCOL = "title: a";

    @TempDir
    private Path folder;

    private Path path;

    @BeforeEach
    void begin() {
        path = folder.resolve("comparison");
        open();
    }

    private void open() {
        try (var opened = CompareFolder.open(path, PROTOCOL)) {
            opened.begin(Map.of("the tasks", "1"));
        }
    }

    private void refused(Path file, String what) {
        refused(file, what, "a file");
    }

    private void refused(Path file, String what, String instead) {
        assertThatThrownBy(this::open).isInstanceOf(InputException.class)
                .hasMessage(file + ": is " + what + " where the comparison has " + instead
                        + "; move it away, or give another --output. Nothing was changed");
    }

    @ParameterizedTest
    @ValueSource(strings = {"compare.lock", "protocol.yaml", "inputs.json", "results.json", "results.md", "report.html"})
    @DisabledOnOs(OS.WINDOWS)
    @Timeout(60) // opening a pipe waits for a process at its other end
    void whatLiesInPlaceOfItsFilesIsSaidBeforeTheWorkBegins(String name) throws IOException, InterruptedException {
        Path file = path.resolve(name);
        Files.deleteIfExists(file);
        Pipe.make(file);
        refused(file, "a pipe or a device");
        Files.delete(file);
        Files.createDirectory(file);
        refused(file, "a folder");
        Files.delete(file);
        Files.createSymbolicLink(file, folder.resolve("nowhere"));
        refused(file, "a link that leads nowhere");
    }

    @ParameterizedTest
    @ValueSource(strings = {"cells", "runs", "cells/joint", "runs/0123456789abcdef"})
    void aFileInPlaceOfAFolderIsSaidBeforeTheWorkBegins(String name) throws IOException {
        Files.createDirectories(path.resolve(name).getParent());
        refused(Files.writeString(path.resolve(name), "mine"), "no folder", "one");
        assertThat(path.resolve(name)).hasContent("mine");
    }

    @ParameterizedTest
    @ValueSource(strings = {"cost.json", "track.json"})
    void aFolderInPlaceOfWhatATrainingTookIsSaidBeforeTheWorkBegins(String name) throws IOException {
        refused(Files.createDirectories(path.resolve("runs/0123456789abcdef").resolve(name)), "a folder");
    }

    @Test
    void aFolderThatIsMadeForNothingIsRemoved() throws IOException {
        Path made = folder.resolve("made");
        CompareFolder.open(made, PROTOCOL).close();
        assertThat(made).doesNotExist();
        Files.createDirectory(made);
        CompareFolder.open(made, PROTOCOL).close();
        assertThat(made).exists();
    }

    @Test
    void aFolderInPlaceOfACellIsSaidBeforeTheWorkBegins() throws IOException {
        Path cell = Files.createDirectories(path.resolve("cells/joint/seed-1.json"));
        refused(cell, "a folder");
        Files.delete(cell);
        open();
        assertThat(path.resolve("protocol.yaml")).hasContent(PROTOCOL);
    }
}
