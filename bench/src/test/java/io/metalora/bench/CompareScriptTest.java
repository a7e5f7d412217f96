package io.metalora.bench;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Which java bench/peers/compare.py runs: a JDK that can, or a message. */
@Timeout(value = 2, unit = TimeUnit.MINUTES)
class CompareScriptTest {

    private static final Path ROOT = Path.of(System.getProperty("basedir", ".")).toAbsolutePath().normalize().getParent();

    @TempDir
    private Path folder;

    private record Result(int code, String out, String err) {
    }

    /** What java_of gives for an argument, written as in Python. */
    private Result javaOf(String argument) throws IOException, InterruptedException {
        var builder = new ProcessBuilder("python3", "-B", "-c", "import compare; print(compare.java_of(" + argument + "))")
                .directory(ROOT.resolve("bench/peers").toFile()).redirectOutput(folder.resolve("out").toFile())
                .redirectError(folder.resolve("err").toFile());
        builder.environment().put("METALORA_JAVA_HOME", System.getProperty("java.home"));
        Process process;
        try {
            process = builder.start();
        } catch (IOException e) {
            Assumptions.abort("there is no python3 here");
            return null;
        }
        int code = process.waitFor();
        return new Result(code, Files.readString(folder.resolve("out")).strip(), Files.readString(folder.resolve("err")));
    }

    private Path java(String says) throws IOException {
        Path java = Files.writeString(folder.resolve("java"), "#!/bin/sh\n" + says + "\n");
        assertThat(java.toFile().setExecutable(true)).isTrue();
        return java;
    }

    @Test
    void takesTheOneThatTheLauncherTakes() throws IOException, InterruptedException {
        assertThat(javaOf("None")).isEqualTo(new Result(0, System.getProperty("java.home") + "/bin/java", ""));
    }

    @Test
    void takesTheGivenOneIfItIsNewEnough() throws IOException, InterruptedException {
        Path java = java("echo openjdk 22.0.1 2024-04-16");
        assertThat(javaOf("'" + java + "'")).isEqualTo(new Result(0, java.toString(), ""));
    }

    @Test
    void refusesAnother() throws IOException, InterruptedException {
        Path java = java("echo openjdk 17.0.9 2023-10-17");
        assertThat(javaOf("'" + java + "'")).satisfies(old -> {
            assertThat(old.code()).isEqualTo(1);
            assertThat(old.err()).contains("--java " + java + ": is Java 17; a JDK 22 or newer is needed", "omit --java");
        });
        java("echo hello");
        assertThat(javaOf("'" + java + "'").err()).contains("does not say which Java it is");
        assertThat(javaOf("'" + folder.resolve("none") + "'").err()).contains("can't be run: No such file");
    }
}
