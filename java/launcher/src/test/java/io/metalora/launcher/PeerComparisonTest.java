package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which Java bench/peers/compare.py measures: the one it is told, or none. */
@EnabledOnOs(OS.LINUX)
class PeerComparisonTest {

    @TempDir
    private Path folder;

    private Path script;

    @BeforeEach
    void makeCheckout() throws IOException, InterruptedException {
        Assumptions.assumeTrue(new ProcessBuilder("sh", "-c", "command -v python3").start().waitFor() == 0, "python3 is there");
        script = Files.createDirectories(folder.resolve("bench/peers")).resolve("compare.py");
        Files.copy(Path.of("..", "..", "bench/peers/compare.py"), script);
        Files.createFile(Files.createDirectories(folder.resolve("bench/target")).resolve("some-benchmarks.jar"));
    }

    private Cli.Result compare(Path java) throws IOException, InterruptedException {
        Process process = JavaProcess.start(folder, List.of("python3", script.toString(),
                "--model", Cli.model().toString(), "--java", java.toString()));
        assertThat(process.waitFor(1, TimeUnit.MINUTES)).isTrue();
        return new Cli.Result(process.exitValue(), Files.readString(folder.resolve("out")),
                Files.readString(folder.resolve("err")));
    }

    /** A program that says it is a Java, and notes what it is to run. */
    private Path java(String version) throws IOException {
        Path java = Files.writeString(folder.resolve("java"), """
                #!/bin/sh
                [ "$1" = --version ] && { echo '%s'; exit; }
                echo "$@" > '%s'
                exit 3
                """.formatted(version, folder.resolve("ran")));
        return Files.setPosixFilePermissions(java, PosixFilePermissions.fromString("rwx------"));
    }

    @ParameterizedTest
    @CsvSource({"openjdk 17.0.9 2023-10-17, is Java 17",
            "openjdk 21 2023-09-19, is Java 21", "'', does not say which Java it is"})
    void anOldOneIsRefused(String version, String said) throws IOException, InterruptedException {
        var result = compare(java(version));
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("--java " + folder.resolve("java") + ": " + said, "a JDK 22 or newer is needed")
                .doesNotContain("Traceback");
        assertThat(folder.resolve("ran")).doesNotExist();
    }

    @Test
    void oneThatIsNotThereIsRefused() throws IOException, InterruptedException {
        var result = compare(folder.resolve("nowhere"));
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).contains("--java " + folder.resolve("nowhere") + ": can't be run").doesNotContain("Traceback");
    }

    @Test
    void theNamedOneIsRun() throws IOException, InterruptedException {
        var result = compare(java("openjdk 25.0.1 2025-10-21"));
        assertThat(folder.resolve("ran")).content().contains("some-benchmarks.jar", "io.metalora.bench.PeerWorker");
        assertThat(result.err()).contains("metalora ended with status 3");
    }
}
