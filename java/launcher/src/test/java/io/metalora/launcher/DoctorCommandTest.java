package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.bindings.NativeLibrary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DoctorCommandTest {

    @TempDir
    private Path folder;

    @Test
    void tellsThatAllIsReady() {
        var result = Cli.run("doctor", "--device", "cpu", "--threads", "1");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("JDK", "library", "ABI", "backend", "cpu: CPU was asked for", "tokenizers", "instructions", "cores",
                "memory", "All is ready.");
        assertThat(result.out()).containsPattern("threads +1\\R");
    }

    @Test
    void aForcedInstructionSetIsNamedWithItsReason() {
        var result = Cli.run("doctor", "--device", "cpu", "--isa", "portable");
        assertThat(result.code()).isZero();
        assertThat(result.out()).containsPattern("instructions +portable: it was asked for\\R");
    }

    @Test
    void bf16ProductsOfThePortableKernelsAreNoFaster() {
        var result = Cli.run("doctor", "--device", "cpu", "--isa", "portable", "--arithmetic", "bf16");
        assertThat(result.code()).isZero();
        assertThat(result.out()).containsPattern("bf16 products +rounded, no faster: ").containsPattern("BLAS +.*bf16 products in fp32, no faster\\R");
    }

    @Test
    void tellsItAsJson() throws IOException {
        var result = Cli.run("doctor", "--json");
        assertThat(result.code()).isZero();
        JsonNode json = new ObjectMapper().readTree(result.out());
        assertThat(json.at("/library/loaded").asBoolean()).isTrue();
        assertThat(Path.of(json.at("/library/file").asText())).isRegularFile();
        assertThat(json.at("/library/abi").asInt()).isPositive();
        assertThat(json.at("/backend/name").asText()).isIn("cpu", "cuda");
        assertThat(json.at("/backend/reason").asText()).isNotBlank();
        assertThat(json.at("/backend/isa").asText()).isNotBlank();
        assertThat(json.at("/backend/isa_reason").asText()).isNotBlank();
        assertThat(json.at("/tokenizers/loaded").asBoolean()).isTrue();
        assertThat(Path.of(json.at("/tokenizers/file").asText())).isRegularFile();
        assertThat(json.at("/cpu/cores").asInt()).isPositive();
        assertThat(json.at("/memory/total").asLong()).isPositive();
    }

    /** In a process of its own, since a library stays loaded. */
    @Test
    void worksWithoutTheLibraryAndTellsWhy() throws IOException, InterruptedException {
        Path missing = folder.resolve("libmetalora.so");
        var result = JavaProcess.run(folder, List.of("-Dmetalora.native.path=" + missing), "doctor", "--json");
        assertThat(result.code()).isEqualTo(1);
        JsonNode json = new ObjectMapper().readTree(result.out());
        assertThat(json.at("/library/loaded").asBoolean()).isFalse();
        assertThat(json.at("/library/error").asText()).contains(missing.toString(), "no such file", "metalora.native.path");
        assertThat(json.at("/backend/ready").asBoolean()).isFalse();
        assertThat(json.at("/jdk/version").asText()).isNotBlank();
    }

    @Test
    void usesTheTokenizersLibraryAndTellsWhyItCanNot() throws IOException, InterruptedException {
        Path file = Files.createFile(folder.resolve("file"));
        var result = JavaProcess.run(folder, List.of("-DDJL_CACHE_DIR=" + file), "doctor");
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.out()).contains("tokenizers    NOT LOADED: ", "DJL_CACHE_DIR", file.toString(), "Not ready");
        var score = JavaProcess.run(folder, List.of("-DDJL_CACHE_DIR=" + file), "score", "--model", Cli.model(), "--data",
                Cli.fixture("data.jsonl"));
        assertThat(score.code()).isEqualTo(1);
        assertThat(score.err()).contains("tokenizers library can't be loaded", "DJL_CACHE_DIR", file.toString());
    }

    @Test
    void tellsWhenNewTokenizersAreNotTried() throws IOException, InterruptedException {
        var result = JavaProcess.run(folder, List.of("-Dmetalora.tokenizer.trial=off"), "doctor");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("checked, but not tried in a process of their own: -Dmetalora.tokenizer.trial=off was given");
    }

    /** A home that can't be written costs unpacking the libraries anew, nothing else. */
    @Test
    void worksWithoutACache() throws IOException, InterruptedException {
        Assumptions.assumeTrue(System.getenv("XDG_CACHE_HOME") == null, "XDG_CACHE_HOME is set");
        Path home = Files.createFile(folder.resolve("home"));
        Path temporary = Files.createDirectory(folder.resolve("temporary"));
        var options = List.of("-Duser.home=" + home, "-Djava.io.tmpdir=" + temporary, "-Dmetalora.native.path=" + NativeLibrary.load().file());
        var result = JavaProcess.run(folder, options, "doctor");
        assertThat(result.code()).as(result.out()).isZero();
        assertThat(result.out()).containsPattern("tokenizers +" + temporary).contains("cache         not used: " + home, "XDG_CACHE_HOME",
                "All is ready.");
        assertThat(JavaProcess.run(folder, options, "score", "--model", Cli.model(), "--data", Cli.fixture("data.jsonl")).code()).isZero();
        try (var left = Files.list(temporary)) {
            assertThat(left.filter(path -> path.getFileName().toString().startsWith("metalora"))).isEmpty();
        }
    }
}
