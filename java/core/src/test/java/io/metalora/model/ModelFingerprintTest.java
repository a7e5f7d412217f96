package io.metalora.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What of a model is noticed to have changed; {@code ResumeTest} has the same through a run. */
class ModelFingerprintTest {

    /** Of the feed-forward part: half a GiB a matrix. */
    private static final int WIDE = 1 << 22;

    @TempDir
    Path folder;

    @BeforeEach
    void copyModel() throws IOException, URISyntaxException {
        Path model = Path.of(ModelFingerprintTest.class.getResource("/fixture/model").toURI());
        for (String name : List.of("config.json", "tokenizer.json", "model.safetensors")) {
            Files.copy(model.resolve(name), folder.resolve(name));
        }
    }

    @Test
    void shardsOfTheSameTensorsAreTheSame() throws IOException {
        var whole = ModelFingerprint.of(folder);
        ObjectNode index = new ObjectMapper().createObjectNode();
        header().fieldNames().forEachRemaining(tensor -> {
            if (!tensor.equals("__metadata__")) {
                index.withObjectProperty("weight_map").put(tensor, "part.safetensors");
            }
        });
        Files.move(folder.resolve("model.safetensors"), folder.resolve("part.safetensors"));
        Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());

        assertThat(whole.changesTo(ModelFingerprint.of(folder))).isEmpty();
    }

    @Test
    void aTensorOfAnotherTypeIsNamed() throws IOException {
        ObjectNode header = header();
        layOut(header);
        var before = ModelFingerprint.of(folder);
        for (var tensor : header.properties()) {
            if (tensor.getKey().endsWith("layers.1.mlp.down_proj.weight")) {
                ((ObjectNode) tensor.getValue()).put("dtype", "BF16");
            }
        }
        layOut(header);

        assertThat(before.changesTo(ModelFingerprint.of(folder))).singleElement().asString()
                .contains("tensor model.layers.1.mlp.down_proj.weight was F32 [", ", is BF16 [");
    }

    @Test
    void aTokenizerOfAnotherKindIsSaidAsElsewhere() throws IOException {
        Files.delete(folder.resolve("tokenizer.json"));
        Files.createFile(folder.resolve("tokenizer.model"));
        assertThatThrownBy(() -> ModelFingerprint.of(folder)).isInstanceOf(InputException.class)
                .hasMessageContaining("convert tokenizer.model");
        try (var holes = new RandomAccessFile(folder.resolve("tokenizer.json").toFile(), "rw")) {
            holes.setLength(3L << 30);
        }
        assertThatThrownBy(() -> ModelFingerprint.of(folder)).isInstanceOf(InputException.class).hasMessageContaining("more than 256 MiB");
    }

    @Test
    void itsDigestTellsModelsApart() throws IOException {
        String before = ModelFingerprint.of(folder).digest();
        assertThat(before).matches("[0-9a-f]{16}").isEqualTo(ModelFingerprint.of(folder).digest());
        Path config = folder.resolve("config.json");
        Files.writeString(config, Files.readString(config).replaceFirst("\"rms_norm_eps\": [^,]*", "\"rms_norm_eps\": 0.5"));
        assertThat(ModelFingerprint.of(folder).digest()).isNotEqualTo(before);
    }

    /** Gibibytes of holes, which take no room on the disk, are told apart in a moment. */
    @Test
    void aLargeModelTakesAMoment() throws IOException {
        ObjectNode header = header();
        for (var tensor : header.properties()) {
            if (tensor.getKey().contains(".mlp.")) {
                ((ArrayNode) tensor.getValue().get("shape"))
                        .set(tensor.getKey().contains("down_proj") ? 1 : 0, WIDE);
            }
        }
        layOut(header);
        String config = Files.readString(folder.resolve("config.json"));
        Files.writeString(folder.resolve("config.json"), config.replaceFirst("\"intermediate_size\": \\d+", "\"intermediate_size\": " + WIDE));
        Path weights = folder.resolve("model.safetensors");
        assertThat(Files.size(weights)).isGreaterThan(3L << 30);

        long begin = System.nanoTime();
        var before = ModelFingerprint.of(folder);
        assertThat(Duration.ofNanos(System.nanoTime() - begin)).isLessThan(Duration.ofSeconds(5)); // 0.1 s on an idle machine
        try (var file = FileChannel.open(weights, StandardOpenOption.WRITE)) {
            file.write(ByteBuffer.wrap(new byte[] {1}), Files.size(weights) - 1);
        }
        assertThat(before.changesTo(ModelFingerprint.of(folder))).singleElement().asString().contains(" holds other values");
    }

    private ObjectNode header() throws IOException {
        var bytes = ByteBuffer.wrap(Files.readAllBytes(folder.resolve("model.safetensors"))).order(ByteOrder.LITTLE_ENDIAN);
        byte[] json = new byte[(int) bytes.getLong()];
        bytes.get(json);
        return (ObjectNode) new ObjectMapper().readTree(json);
    }

    /** Writes the weights anew as the header says, all of them holes. */
    private void layOut(ObjectNode header) throws IOException {
        header.remove("__metadata__");
        long end = 0;
        for (var tensor : header.properties()) {
            long bytes = tensor.getValue().get("dtype").asText().equals("F32") ? 4 : 2;
            for (var size : tensor.getValue().get("shape")) {
                bytes *= size.asLong();
            }
            ((ObjectNode) tensor.getValue()).putArray("data_offsets").add(end).add(end += bytes);
        }
        byte[] json = header.toString().getBytes(StandardCharsets.UTF_8);
        try (var out = new RandomAccessFile(folder.resolve("model.safetensors").toFile(), "rw")) {
            out.setLength(0);
            out.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).array());
            out.write(json);
            out.setLength(8 + json.length + end);
        }
    }
}
