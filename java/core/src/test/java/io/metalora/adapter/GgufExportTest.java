package io.metalora.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF adapters are what llama.cpp's converter writes, which make_gguf_goldens.py ran. */
class GgufExportTest {

    @TempDir
    private Path folder;

    private static Path golden(String name) {
        try {
            return Path.of(GgufExportTest.class.getResource("/goldens/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    /** Keys, tensors, order and padding; of grouped heads, heads wider than hidden / heads, biases, one rank and rsLoRA. */
    @ParameterizedTest
    @ValueSource(strings = {"llama", "llama3-rope", "llama-linear-sharded", "mistral-bf16", "qwen2-f16", "qwen3"})
    void writesTheBytesOfTheConverter(String name) throws IOException {
        Path file = folder.resolve("Adapter.gguf"); // the name that the converter gave it
        AdapterExport.gguf(golden(name).resolve("adapter"), golden(name).resolve("model"), file);
        assertThat(file).hasSameBinaryContentAs(golden(name).resolve("adapter.gguf"));
        try (var files = Files.list(folder)) {
            assertThat(files).containsExactly(file);
        }
    }

    @Test
    void aMixtureHasNoPlaceInIt() {
        Path adapter = golden("qwen3-mixture").resolve("adapter");
        assertThatThrownBy(() -> AdapterExport.gguf(adapter, golden("qwen3-mixture").resolve("model"), folder.resolve("a.gguf")))
                .isInstanceOf(InputException.class).hasMessageStartingWith(adapter + " is a mixture of 3 heads")
                .hasMessageContaining("--even-heads");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void nothingIsWrittenOver() throws IOException {
        Path file = Files.writeString(folder.resolve("mine"), "mine");
        assertThatThrownBy(() -> AdapterExport.gguf(golden("llama").resolve("adapter"), golden("llama").resolve("model"), file))
                .isInstanceOf(InputException.class).hasMessageStartingWith(file + ": already exists");
        assertThat(file).hasContent("mine");
        Path lost = folder.resolve("none/a.gguf");
        assertThatThrownBy(() -> AdapterExport.gguf(golden("llama").resolve("adapter"), golden("llama").resolve("model"), lost))
                .isInstanceOf(InputException.class).hasMessageContaining("its folder doesn't exist");
    }
}
