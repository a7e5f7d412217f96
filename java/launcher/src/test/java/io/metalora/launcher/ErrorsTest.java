package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Whatever is thrown ends as one message with an exit code. */
class ErrorsTest {

    @TempDir
    private Path folder;

    static Stream<Arguments> thrown() {
        var full = new IOException("No space left on device");
        var denied = new AccessDeniedException("/x/.report.tmp");
        return Stream.of(
                Arguments.of(new InputException("bad"), 2, "error: bad"),
                Arguments.of(new NativeException(Status.INTERNAL, "native"), 1, "error: native"),
                Arguments.of(new InternalError("a fault occurred in an unsafe memory access operation"), 1, "cut or replaced"),
                Arguments.of(new InternalError("Error loading java.security file"), 1, "unexpected InternalError: Error loading"),
                Arguments.of(new StackOverflowError(), 1, "nested too deeply"),
                Arguments.of(new OutOfMemoryError("Java heap space"), 1, "-Xmx"),
                Arguments.of(new NoClassDefFoundError("io/metalora/launcher/report/HtmlReport"), 1, "replaced or removed while it ran"),
                Arguments.of(new ExceptionInInitializerError(new NativeException(Status.INTERNAL, "why")), 1, "why"),
                Arguments.of(new UnsatisfiedLinkError("libx.so"), 1, "'metalora doctor'"),
                Arguments.of(new UncheckedIOException("can't write /x/report: " + full, full), 1,
                        "error: can't write /x/report: No space left on device"),
                Arguments.of(new UncheckedIOException("can't write /x/report: " + denied, denied), 1, "/x/report: access denied (check its permissions)\n"),
                Arguments.of(new UncheckedIOException("the run's log can't be written", full), 1, "written: No space left on device"),
                Arguments.of(new UncheckedIOException(full), 1, "No space left on device"),
                Arguments.of(new FileSystemException("/x/y", null, "No space left on device"), 1, "/x/y: No space left on device"),
                Arguments.of(new InvalidPathException("t\ufffd\ufffdsk", "Malformed input"), 2, "LC_ALL=C.UTF-8"),
                Arguments.of(new AssertionError("never"), 1, "unexpected AssertionError: never"),
                Arguments.of(new IllegalStateException(), 1, "unexpected IllegalStateException: null"));
    }

    @ParameterizedTest
    @MethodSource("thrown")
    void oneMessage(Throwable thrown, int code, String words) {
        var err = new StringWriter();
        assertThat(new Errors(new PrintWriter(err), () -> false).report(thrown)).isEqualTo(code);
        assertThat(err.toString()).startsWith("error: ").contains(words).doesNotContain("\tat ", "java.io", "java.nio");
        assertThat(err.toString().lines()).hasSize(1);
        assertThat(err.toString().contains("--verbose")).isEqualTo(err.toString().contains("unexpected"));
    }

    @ParameterizedTest
    @MethodSource("thrown")
    void andTheTraceWhereAskedFor(Throwable thrown, int code, String words) {
        var err = new StringWriter();
        assertThat(new Errors(new PrintWriter(err), () -> true).report(thrown)).isEqualTo(code);
        assertThat(err.toString()).contains(words, "\tat ");
    }

    @Test
    void aHeapTooSmall() throws IOException, InterruptedException {
        var result = JavaProcess.run(folder, List.of("-Xmx5m", "-XX:+UseSerialGC"), "generate", "--model", Cli.model(), "--prompt", "a");
        assertThat(result.code()).as(result.err()).isEqualTo(1);
        assertThat(result.err()).startsWith("error: the Java heap is full").contains("-Xmx1g").doesNotContain("\tat ");
    }

    /** More than there was, however much that was. */
    @Test
    void adviceOnTheHeap() {
        assertThat(Errors.doubled(5 << 20)).isEqualTo(1);
        assertThat(Errors.doubled(1L << 30)).isEqualTo(2);
        assertThat(Errors.doubled(8L << 30)).isEqualTo(16);
        assertThat(Errors.doubled((8L << 30) + 1)).isEqualTo(17);
        var err = new StringWriter();
        new Errors(new PrintWriter(err), () -> false).report(new OutOfMemoryError("Java heap space"));
        assertThat(err.toString()).contains("-Xmx" + Errors.doubled(Runtime.getRuntime().maxMemory()) + "g");
    }

    /** As when a build replaces the classes of a run that was started from its folder. */
    @Test
    void classesThatVanishUnderARun() throws IOException, InterruptedException {
        Path classes = Path.of(Main.class.getProtectionDomain().getCodeSource().getLocation().getPath());
        Assumptions.assumeTrue(Files.isDirectory(classes), "the classes are in a folder");
        Path own = folder.resolve("classes");
        try (var files = Files.walk(classes)) {
            for (Path file : files.toList()) {
                Files.copy(file, own.resolve(classes.relativize(file).toString()));
            }
        }
        Path run = folder.resolve("run");
        var command = JavaProcess.command(List.of(), "train", Cli.config(folder, Cli.tasks(folder), run), "meta.iterations=300",
                "compute.checkpoint_every=300");
        command.replaceAll(word -> word.replace(classes.toString(), own.toString()));
        Process process = new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile())
                .redirectError(folder.resolve("err").toFile()).start();
        while (process.isAlive() && !(Files.exists(run.resolve("metrics.jsonl")) && Files.size(run.resolve("metrics.jsonl")) > 0)) {
            Thread.sleep(5);
        }
        Files.delete(own.resolve("io/metalora/launcher/report/HtmlReport.class"));
        var result = JavaProcess.await(process, folder);
        assertThat(result.code()).as(result.err()).isEqualTo(1);
        assertThat(result.err()).contains("io/metalora/launcher/report/HtmlReport", "replaced or removed while it ran", "./metalora").doesNotContain("\tat ");
    }

    /** A program with a thread, and a hook, of its own that fail. */
    static final class Failing {
        public static void main(String[] args) {
            var thread = new Thread(() -> {
                while (Thread.getDefaultUncaughtExceptionHandler() == null) {
                    Thread.onSpinWait();
                }
                throw new IllegalStateException("beside the verb");
            }, "other");
            thread.start();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                throw new StackOverflowError();
            }, "hook"));
            Main.main(args);
        }
    }

    @Test
    void otherThreadsAndHooks() throws IOException, InterruptedException {
        var command = JavaProcess.command(List.of(), "doctor");
        command.set(command.indexOf(Main.class.getName()), Failing.class.getName());
        Process process = new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile())
                .redirectError(folder.resolve("err").toFile()).start();
        var result = JavaProcess.await(process, folder);
        assertThat(result.out()).contains("All is ready.");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err().lines()).hasSize(2);
        assertThat(result.err()).contains("error in thread other: unexpected IllegalStateException: beside the verb",
                "error in thread hook: the Java stack is full");
    }
}
