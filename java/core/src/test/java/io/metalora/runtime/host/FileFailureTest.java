package io.metalora.runtime.host;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class FileFailureTest {

    static Stream<Arguments> failures() {
        return Stream.of(
                Arguments.of(new AccessDeniedException("/a"), "access denied (check its permissions)"),
                Arguments.of(new NoSuchFileException("/a"), "no such file or folder"),
                Arguments.of(new NotDirectoryException("/a"), "is not a folder"),
                Arguments.of(new FileSystemException("/a", null, "Too many levels of symbolic links"),
                        "Too many levels of symbolic links"),
                Arguments.of(new FileSystemException("/a"), "the file system refuses it"),
                Arguments.of(new IOException("Is a directory"), "Is a directory"),
                Arguments.of(new IOException(), "input or output failed"));
    }

    /** Many of Java's messages are the file's name alone. */
    @ParameterizedTest
    @MethodSource("failures")
    void givesTheReasonWithoutTheName(IOException failure, String reason) {
        assertThat(FileFailure.reason(failure)).isEqualTo(reason);
    }
}
