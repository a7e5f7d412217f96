package io.metalora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.fail;

import io.metalora.adapter.LoraAdapter;
import io.metalora.io.ModelConfig;
import io.metalora.io.ModelFiles;
import io.metalora.io.Safetensors;
import io.metalora.runtime.InputException;
import io.metalora.task.ExampleFile;
import io.metalora.text.ChatTemplate;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** What every reader says of broken files: one line that names the file, in the words of the format, not of a library. */
class MessagesTest {

    /** Names of classes, packages and settings of Java's, of the JSON library's and of this one's. */
    private static final Pattern INSIDES = Pattern.compile("[Jj]ackson|fasterxml|\\bcom\\.|\\bjava\\.|io\\.metalora|\\[Source|REDACTED|reference chain"
            + "|`|Feature|starting at \\)|allowed \\([0-9]+[^0-9)]|StreamRead|Constraints|[a-z]Exception|[a-z]Error\\b|JsonNode|JsonToken|VALUE_|START_OBJECT|\tat ");
    private static final int LONGEST = 700;

    @TempDir
    private Path folder;

    private interface Reader {
        void read(Path folder) throws IOException;
    }

    private record Target(String file, Reader reader) {
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
            new Target("tokenizer_config.json", ChatTemplate::load),
            new Target("chat_template.jinja", ChatTemplate::load),
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

    private static Map<String, byte[]> broken() {
        var broken = new TreeMap<String, byte[]>();
        var values = new ArrayList<>(List.of("", "nul", "'a'", "\"\\x\"", "\"\\ud800\"", "\"\\u12\"", "\"a\nb\"", "01", "1.", ".5", "+1", "NaN",
                "-Infinity", "1e99999", "9".repeat(2000), "-", "[1,]", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":1,\"a\":2}", "/* c */ 1",
                "\"unterminated", "[", "{", "1} {\"b\":2", "\"\0\"", "[".repeat(2000) + "]".repeat(2000),
                "{\"a\":".repeat(2000) + "1" + "}".repeat(2000), "{\"" + "n".repeat(60_000) + "\":1}", "`back`", "com.example.Type"));
        for (String value : values) {
            String name = value.length() <= 20 ? value : value.substring(0, 12) + "... of " + value.length();
            broken.put("a key with " + name, ("{\"model_type\": " + value + "}").getBytes(StandardCharsets.UTF_8));
            broken.put(name, value.getBytes(StandardCharsets.UTF_8));
        }
        for (Charset charset : List.of(StandardCharsets.UTF_16, StandardCharsets.UTF_16LE, StandardCharsets.UTF_16BE, Charset.forName("UTF-32"),
                StandardCharsets.ISO_8859_1)) {
            broken.put(charset.name(), "{\"model_type\": \"\u00e9\"}".getBytes(charset));
        }
        broken.put("zip", "PK\3\4 and so on".getBytes(StandardCharsets.UTF_8));
        broken.put("gguf", "GGUF and so on".getBytes(StandardCharsets.UTF_8));
        broken.put("web page", "<!DOCTYPE html><html>404</html>".getBytes(StandardCharsets.UTF_8));
        broken.put("zeros", new byte[100]);
        return broken;
    }

    @TestFactory
    List<DynamicTest> inTheWordsOfTheFormat() {
        return TARGETS.stream().map(target -> DynamicTest.dynamicTest(target.file(), () -> {
            int refused = 0;
            for (var entry : broken().entrySet()) {
                Path file = Files.write(Files.createDirectories(folder.resolve(target.file())).resolve(target.file()), entry.getValue());
                try {
                    target.reader().read(file.getParent());
                } catch (InputException e) {
                    refused++;
                    assertThat(e.getMessage()).as(entry.getKey()).contains(file.getParent().toString()).doesNotContain("\n").hasSizeLessThan(LONGEST);
                    String said = e.getMessage().replace(entry.getKey(), "");
                    if (!entry.getKey().contains("back") && !entry.getKey().contains("com.")) {
                        assertThat(said).as(entry.getKey()).doesNotContainPattern(INSIDES);
                    }
                } catch (RuntimeException | Error e) {
                    fail(target.file() + " of " + entry.getKey() + " gives " + e, e);
                }
            }
            assertThat(refused).isGreaterThan(target.file().endsWith("jinja") ? 5 : 60);
        })).toList();
    }
}
