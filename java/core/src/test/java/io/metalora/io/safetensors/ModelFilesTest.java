package io.metalora.io.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.file.JsonObject;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Weights in shards. */
class ModelFilesTest {
    private static final String INDEX = "model.safetensors.index.json";
    private static final String SHARD = "model-00002-of-00004.safetensors";

    @TempDir
    private Path folder;

    @BeforeEach
    void copy() throws IOException, URISyntaxException {
        Path from = Path.of(ModelFilesTest.class.getResource("/goldens/llama-linear-sharded/model").toURI());
        try (var files = Files.list(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, folder.resolve(file.getFileName().toString()));
            }
        }
    }

    private void refused(String... words) {
        assertThatThrownBy(() -> ModelFiles.open(folder).close()).isInstanceOf(InputException.class).message().contains(words);
    }

    @Test
    void everyTensorComesFromItsShard() throws IOException {
        try (var files = ModelFiles.open(folder)) {
            JsonObject index = JsonObject.read(folder.resolve(INDEX));
            assertThat(files.names()).containsExactlyInAnyOrderElementsOf(index.object("weight_map").orElseThrow().keys());
        }
    }

    @Test
    void missingShard() throws IOException {
        Files.delete(folder.resolve(SHARD));
        refused(INDEX, SHARD, "fetch the missing shard");
    }

    @Test
    void indexOfAnotherModel() throws IOException {
        Path index = folder.resolve(INDEX);
        Files.writeString(index, Files.readString(index).replaceFirst("\"model\\.layers\\.0\\.", "\"model.layers.77."));
        refused(INDEX, "layers.77", "holds no such tensor");
    }

    @Test
    void shardOutsideTheFolder() throws IOException {
        Path index = folder.resolve(INDEX);
        Files.writeString(index, Files.readString(index).replace(SHARD, "../" + SHARD));
        refused(INDEX, "../" + SHARD, "in the same folder");
    }

    @Test
    void truncatedShard() throws IOException {
        byte[] bytes = Files.readAllBytes(folder.resolve(SHARD));
        Files.write(folder.resolve(SHARD), java.util.Arrays.copyOf(bytes, bytes.length - 8));
        refused(SHARD);
    }

    @Test
    void aShardThatIsWrittenToIsNoticed() throws IOException {
        try (var files = ModelFiles.open(folder)) {
            files.requireUnchanged();
            Files.write(folder.resolve(SHARD), new byte[1], StandardOpenOption.APPEND);
            assertThatThrownBy(files::requireUnchanged).isInstanceOf(UncheckedIOException.class)
                    .hasMessageContaining(SHARD + ": the file was changed while it was read");
        }
    }

    @Test
    void indexWithoutAMap() throws IOException {
        Files.writeString(folder.resolve(INDEX), "{\"metadata\": {}}");
        refused(INDEX, "weight_map", "is missing");
    }

    @Test
    void weightsOfOtherFormats() throws IOException {
        try (var files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
        }
        Files.writeString(folder.resolve("pytorch_model.bin"), "");
        refused("pytorch_model.bin", "safe_serialization");
        Files.delete(folder.resolve("pytorch_model.bin"));
        Files.writeString(folder.resolve("model-q4.gguf"), "");
        refused("GGUF", "Hugging Face folder");
    }
}
