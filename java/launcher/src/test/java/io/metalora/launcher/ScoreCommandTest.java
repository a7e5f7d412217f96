package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ScoreCommandTest {

    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"base", "adapter"})
    void givesTheScoresOfTransformersAndPeft(String which) throws IOException {
        var args = new ArrayList<Object>(
                List.of("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl")));
        if (which.equals("adapter")) {
            args.addAll(List.of("--adapter", Cli.fixture("adapter")));
        }
        var result = Cli.run(args.toArray());
        assertThat(result.err()).isEmpty();
        assertThat(result.code()).isZero();
        JsonNode expected = JSON.readTree(Cli.fixture("expected.json").toFile());
        var lines = result.out().lines().toList();
        assertThat(lines).hasSize(expected.size());
        for (int i = 0; i < lines.size(); i++) {
            JsonNode line = JSON.readTree(lines.get(i));
            assertThat(line.get("index").asInt()).isEqualTo(i);
            assertThat(line.get("tokens").asInt()).isEqualTo(expected.get(i).get("completion").size());
            double logprob = expected.get(i).get(which).asDouble();
            assertThat(line.get("logprob").asDouble()).isCloseTo(logprob, within(1e-5 * Math.abs(logprob)));
            assertThat(line).hasSize(3);
        }
    }

    @Test
    void writesTheSameLinesToAFile() throws IOException {
        Path out = folder.resolve("scores.jsonl");
        var printed = Cli.run("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl"));
        var written = Cli.run("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl"), "--out", out);
        assertThat(written.code()).isZero();
        assertThat(written.out()).isEmpty();
        assertThat(out).hasContent(printed.out());
        try (var files = Files.list(folder)) {
            assertThat(files).containsExactly(out);
        }
    }

    @Test
    void leavesAnExistingFileAlone() throws IOException {
        Path out = Files.writeString(folder.resolve("scores.jsonl"), "precious");
        var result = Cli.run("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl"), "--out", out);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(out.toString(), "already exists", "nothing was written over");
        assertThat(out).hasContent("precious");
    }

    @Test
    void writesNothingWhereALineIsBad() throws IOException {
        Path data = Files.writeString(folder.resolve("data.jsonl"), """
                {"prompt": "a", "completion": " b"}
                {"prompt": "a", "completion": " b"
                """);
        Path out = folder.resolve("scores.jsonl");
        var result = Cli.run("score", "--model", Cli.model(), "--data", data, "--out", out);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(data + ":2");
        assertThat(out).doesNotExist();
    }

    /** As with {@code --data <(...)}: read once, from its beginning to its end. */
    @Test
    void readsFromAPipe() throws IOException, InterruptedException {
        Path pipe = folder.resolve("pipe");
        Assumptions.assumeTrue(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor() == 0, "there is no mkfifo");
        Thread.startVirtualThread(() -> {
            try {
                Files.write(pipe, Files.readAllBytes(Cli.fixture("data.jsonl")), StandardOpenOption.WRITE);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
        var piped = Cli.run("score", "--model", Cli.model(), "--data", pipe);
        assertThat(piped.code()).as(piped.err()).isZero();
        assertThat(piped.out()).isEqualTo(Cli.run("score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl")).out());
    }

    /** Some editors put one before UTF-8. */
    @Test
    void byteOrderMarksChangeNothing() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path adapter = Files.createDirectory(folder.resolve("adapter"));
        Files.copy(Cli.fixture("adapter").resolve("adapter_model.safetensors"), adapter.resolve("adapter_model.safetensors"));
        Files.copy(Cli.fixture("adapter").resolve("adapter_config.json"), adapter.resolve("adapter_config.json"));
        Path data = Files.copy(Cli.fixture("data.jsonl"), folder.resolve("data.jsonl"));
        try (var files = Files.walk(folder)) {
            for (Path file : files.filter(f -> f.toString().matches(".*\\.jsonl?")).toList()) {
                Files.writeString(file, "\ufeff" + Files.readString(file));
            }
        }
        var marked = Cli.run("score", "--model", model, "--adapter", adapter, "--data", data);
        assertThat(marked.code()).as(marked.err()).isZero();
        assertThat(marked.out()).isEqualTo(Cli.run("score", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--data",
                Cli.fixture("data.jsonl")).out());
    }

    /** As a user sees it: in a process of its own, with Java's own logging behind it. */
    @Test
    void whatIsIgnoredIsOneLineOfWarning() throws IOException, InterruptedException {
        Path adapter = Files.createDirectory(folder.resolve("adapter"));
        Files.copy(Cli.fixture("adapter").resolve("adapter_model.safetensors"), adapter.resolve("adapter_model.safetensors"));
        String config = Files.readString(Cli.fixture("adapter").resolve("adapter_config.json"));
        Files.writeString(adapter.resolve("adapter_config.json"), config.replaceFirst("\\{", "{\"brand_new\": 1, \"another\": 2,"));
        var scored = JavaProcess.run(folder, List.of(), "score", "--model", Cli.model(), "--adapter", adapter, "--data", Cli.fixture("data.jsonl"));
        assertThat(scored.code()).as(scored.err()).isZero();
        assertThat(scored.err().lines()).containsExactly("warning: " + adapter.resolve("adapter_config.json")
                + ": unknown keys are ignored: [another, brand_new]");
    }

    @Test
    void aFileHasTheRightsThatTheUmaskGives() throws IOException, InterruptedException {
        for (String umask : new String[] {"022", "027", "077"}) {
            Path out = folder.resolve("scores-" + umask);
            var command = new ArrayList<>(List.of("bash", "-c", "umask " + umask + " && exec \"$@\"", "bash"));
            command.addAll(JavaProcess.command(List.of(), "score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl"), "--out", out));
            Process process = new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile())
                    .redirectError(folder.resolve("err").toFile()).start();
            assertThat(JavaProcess.await(process, folder).code()).isZero();
            assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(out))).isEqualTo(switch (umask) {
                case "022" -> "rw-r--r--";
                case "027" -> "rw-r-----";
                default -> "rw-------";
            });
        }
    }

    /** Found out before any work; the reason is that of the system. */
    @Test
    void whereNoFileCanBeMadeIsBadInput() {
        for (String out : new String[] {"/proc/scores.jsonl", folder.resolve("x".repeat(300)).toString(), folder.toString(),
                folder.resolve("missing/scores.jsonl").toString()}) {
            var result = Cli.run("score", "--model", folder.resolve("nowhere"), "--data", folder.resolve("nothing"), "--out", out);
            assertThat(result.code()).isEqualTo(2);
            assertThat(result.err()).startsWith("error: " + out + ": ").doesNotContain("Exception");
        }
    }

    private Path manyExamples() throws IOException {
        return Files.writeString(folder.resolve("data.jsonl"),
                "{\"prompt\": \"the river and the law of cold water\", \"completion\": \" or not\"}\n".repeat(60_000));
    }

    @Test
    void aSignalEndsItWithWhatIsWritten() throws IOException, InterruptedException {
        Path data = manyExamples();
        Process process = JavaProcess.start(folder, List.of(), "score", "--model", Cli.model(), "--data", data);
        while (process.isAlive() && Files.size(folder.resolve("out")) == 0) {
            Thread.sleep(5);
        }
        JavaProcess.signal(process, "TERM");
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(143);
        assertThat(stopped.err()).isEqualTo("stopped: " + stopped.out().lines().count() + " of 60000 lines are written" + System.lineSeparator());
        assertThat(stopped.out()).endsWith("}" + System.lineSeparator());
    }

    @Test
    void aSignalLeavesNoPartOfAFile() throws IOException, InterruptedException {
        Path data = manyExamples();
        Path out = Files.createDirectories(folder.resolve("results")).resolve("scores.jsonl");
        Process process = JavaProcess.start(folder, List.of(), "score", "--model", Cli.model(), "--data", data, "--out", out);
        while (process.isAlive() && out.getParent().toFile().list().length == 0) {
            Thread.sleep(5);
        }
        JavaProcess.signal(process, "HUP");
        assertThat(JavaProcess.await(process, folder).code()).isEqualTo(129);
        assertThat(out.getParent()).isEmptyDirectory();
    }
}
