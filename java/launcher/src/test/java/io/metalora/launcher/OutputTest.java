package io.metalora.launcher;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Output that can't be written is a failure that is told; output that nobody reads ends the verb without a word. */
@EnabledOnOs(OS.LINUX)
class OutputTest {

    private static final File FULL = new File("/dev/full");

    @TempDir
    private Path folder;

    static Stream<List<Object>> verbs() {
        List<Object> model = List.of("--model", Cli.model());
        return Stream.of(
                List.of("--help"), List.of("--version"), List.of("score", "--help"), List.of("doctor"), List.of("doctor", "--json"),
                with(List.of("score", "--data", Cli.fixture("data.jsonl")), model),
                with(List.of("generate", "--prompt", "the team won", "--max-new-tokens", "4"), model));
    }

    private static List<Object> with(List<Object> args, List<Object> more) {
        var all = new ArrayList<Object>(args);
        all.addAll(more);
        return all;
    }

    private static Cli.Result intoFullDisk(Object... args) throws IOException {
        var err = new ByteArrayOutputStream();
        try (var full = new FileOutputStream(FULL)) {
            int code = Main.run(strings(args), full, err);
            return new Cli.Result(code, "", err.toString(UTF_8));
        }
    }

    private static String[] strings(Object... args) {
        return Arrays.stream(args).map(Object::toString).toArray(String[]::new);
    }

    @ParameterizedTest
    @MethodSource("verbs")
    void aFullDiskIsAFailureThatNamesItsCause(List<Object> args) throws IOException {
        var result = intoFullDisk(args.toArray());
        assertThat(result.err()).isEqualTo("error: the standard output can't be written: No space left on device; "
                + "what was printed is not complete" + System.lineSeparator());
        assertThat(result.code()).isEqualTo(1);
    }

    @Test
    void evaluationsAndTrainingsResultsToo() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        for (Object[] args : new Object[][] {
                {"eval", "--model", Cli.model(), "--tasks", tasks},
                {"eval", "--model", Cli.model(), "--tasks", tasks, "--json"},
                {"train", Cli.config(folder, tasks, run)}}) {
            var result = intoFullDisk(args);
            assertThat(result.code()).as(result.err()).isEqualTo(1);
            assertThat(result.err()).contains("No space left on device");
        }
        assertThat(run.resolve("report.html")).as("what was trained is kept").exists();
    }

    @Test
    void messagesThatAreLostAreAFailureToo() throws IOException {
        var out = new ByteArrayOutputStream();
        try (var full = new FileOutputStream(FULL)) {
            assertThat(Main.run(new String[] {"--version"}, out, full)).as("it has no messages").isZero();
            Path run = folder.resolve("run");
            Path config = Cli.config(folder, Cli.tasks(folder), run);
            assertThat(Cli.run("train", config, "--no-eval").code()).isZero();
            assertThat(Main.run(strings("train", "--resume", run, "--no-eval"), out, full)).isEqualTo(1);
        }
        assertThat(out.toString(UTF_8)).as("the work goes on").contains("Trained 6 iterations");
    }

    /** With a reader that goes before the first word. */
    private Cli.Result unread(Object... args) throws IOException, InterruptedException {
        var command = new ArrayList<>(List.of("bash", "-c", "\"$@\" | true; exit ${PIPESTATUS[0]}", "bash"));
        command.addAll(JavaProcess.command(List.of(), args));
        Process process = new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile())
                .redirectError(folder.resolve("err").toFile()).start();
        return JavaProcess.await(process, folder);
    }

    @Test
    void whereNobodyReadsNothingIsSaid() throws IOException, InterruptedException {
        var result = unread("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl"));
        assertThat(result.err()).isEmpty();
        assertThat(result.code()).isEqualTo(141);
    }

    @Test
    void whereNobodyReadsTheWorkStops() throws IOException, InterruptedException {
        Path run = folder.resolve("run");
        var result = unread("quickstart", "--output", run);
        assertThat(result.err()).isEmpty();
        assertThat(result.code()).isEqualTo(141);
        assertThat(run.resolve("model")).exists();
        try (var files = Files.walk(run)) {
            assertThat(files.filter(file -> file.endsWith("config.resolved.yaml"))).as("trainings, which come after the first line of output").isEmpty();
        }
    }

    @Test
    void aClosedOutputIsAFailure() throws IOException, InterruptedException {
        var command = new ArrayList<>(List.of("bash", "-c", "exec \"$@\" >&-", "bash"));
        command.addAll(JavaProcess.command(List.of(), "doctor"));
        Process process = new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile())
                .redirectError(folder.resolve("err").toFile()).start();
        var result = JavaProcess.await(process, folder);
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.err()).startsWith("error: the standard output can't be written: Bad file descriptor");
    }
}
