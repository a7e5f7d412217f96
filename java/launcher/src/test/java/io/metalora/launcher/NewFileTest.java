package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import io.metalora.runtime.InputException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class NewFileTest {

    @TempDir
    private Path folder;

    /** A full disk is no bad input. */
    @ParameterizedTest
    @EnumSource
    void whetherThePlaceIsAtFault(Fault fault) {
        var files = new FaultyFileSystem();
        Path file = folder.resolve("scores.jsonl");
        files.failAt(1, fault, true);
        assertThatThrownBy(() -> new NewFile(files.path(file)))
                .isInstanceOf(fault == Fault.READ_ONLY || fault == Fault.DENIED ? InputException.class : UncheckedIOException.class)
                .hasMessageStartingWith(file + ": can't be written: ");
        assertThat(folder).isEmptyDirectory();
    }
}
