package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DoctorCommandTest {

    @TempDir
    private Path folder;

    @Test
    void tellsThatAllIsReady() {
        var result = Cli.run("doctor", "--device", "cpu", "--threads", "1");
        assertThat(result.code()).isZero();
        assertThat(result.out()).contains("JDK", "library", "ABI", "backend", "cpu: CPU was asked for", "instructions", "cores",
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
}
