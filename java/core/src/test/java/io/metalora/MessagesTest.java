package io.metalora;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.adapter.LoraAdapter;
import io.metalora.files.BrokenFiles;
import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.InputException;
import io.metalora.task.ExampleFile;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** What every reader says of broken files: one line that names the file, in the words of the format, not of a library. */
class MessagesTest {

    @TempDir
    private Path folder;

    private record Target(String file, BrokenFiles.Reader reader) {
    }

    private static ModelConfig model() {
        return ModelConfig.read(resource("goldens/llama/model"));
    }

    private static Path resource(String name) {
        try {
            return Path.of(MessagesTest.class.getResource("/" + name).toURI());
        } catch (java.net.URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    private static final List<Target> TARGETS = List.of(
            new Target("config.json", ModelConfig::read),
            new Target("tokenizer.json", folder -> TextTokenizer.load(folder).close()),
            new Target("model.safetensors.index.json", folder -> ModelFiles.open(folder).close()),
            new Target("adapter_config.json", folder -> LoraAdapter.layout(folder, model())),
            new Target("train.jsonl", folder -> ExampleFile.read(folder.resolve("train.jsonl"))),
            new Target("header.safetensors", folder -> {
                Path file = folder.resolve("header.safetensors");
                byte[] json = Files.readAllBytes(file);
                var bytes = ByteBuffer.allocate(8 + json.length).order(ByteOrder.LITTLE_ENDIAN).putLong(json.length).put(json);
                Files.write(file, bytes.array());
                Safetensors.open(file).close();
            }));

    @Test
    void targetsOfAnAdapterThatTheModelLacks() throws IOException {
        Path file = Files.writeString(folder.resolve("adapter_config.json"),
                "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4, \"target_modules\": [\"c_attn\"]}");
        assertThatThrownBy(() -> LoraAdapter.layout(folder, model())).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ": target_modules c_attn matches no Linear");
        Files.writeString(file, "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 4, \"target_modules\": \"(.*)*(.*)*(.*)*!\"}");
        assertThatThrownBy(() -> LoraAdapter.layout(folder, model())).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ": target_modules \"(.*)*(.*)*(.*)*!\" takes too long");
    }

    @TestFactory
    List<DynamicTest> inTheWordsOfTheFormat() {
        return TARGETS.stream().map(target -> DynamicTest.dynamicTest(target.file(),
                () -> BrokenFiles.check(folder, target.file(), 60, target.reader()))).toList();
    }
}
