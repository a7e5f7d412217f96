package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ExportCommandTest {

    @TempDir
    private Path folder;

    /** The example of the help text, with the fixture's folders in place of those it names. */
    @Test
    void theExamplesOfTheHelpTextRun() {
        String help = Cli.run("export", "--help").out();
        String[] examples = help.substring(help.indexOf("Example")).strip().split("\\s+metalora "); // a long one is wrapped
        assertThat(examples.length).isGreaterThan(1);
        for (String example : Arrays.copyOfRange(examples, 1, examples.length)) {
            Object[] args = Arrays.stream(example.split("\\s+")).map(word -> switch (word) {
                case "models/tiny" -> Cli.model();
                case "run/adapter" -> Cli.fixture("adapter");
                default -> word;
            }).toArray();
            Path output = folder.resolve(args[args.length - 1].toString());
            args[args.length - 1] = output;
            var result = Cli.run(args);
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(result.out()).startsWith(output + ": ");
            assertThat(output).exists();
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
            "use_dora     | true | use_dora | is true",
            "rank_pattern | {\"q_proj\": 4} | rank_pattern | is not supported",
            "lora_nums    | 2 | tensor base_model.model | a mixture with",
    })
    void anAdapterThatOtherProgramsWouldReadOtherwise(String key, String value, String first, String second) throws IOException {
        Path adapter = Files.createDirectories(folder.resolve("adapter"));
        String config = Files.readString(Cli.fixture("adapter").resolve("adapter_config.json"));
        String changed = config.replaceAll("\"" + key + "\": [^\n]*\n", "").replaceFirst("\\{", "{\"" + key + "\": " + value + ",");
        Files.writeString(adapter.resolve("adapter_config.json"), changed.replaceAll(",\\s*}", "}"));
        Files.copy(Cli.fixture("adapter").resolve("adapter_model.safetensors"), adapter.resolve("adapter_model.safetensors"));
        Path output = folder.resolve("a.gguf");
        var result = Cli.run("export", "--model", Cli.model(), "--adapter", adapter, "--format", "gguf", "--output", output);
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: " + adapter).contains(first, second);
        assertThat(output).doesNotExist();
    }

    @Test
    void anArchitectureThatIsNotKnown() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Path config = model.resolve("config.json");
        Files.writeString(config, Files.readString(config).replaceAll("\"model_type\": \"[a-z0-9]+\"", "\"model_type\": \"gpt2\""));
        var result = Cli.run("export", "--model", model, "--adapter", Cli.fixture("adapter"), "--format", "gguf", "--output",
                folder.resolve("a.gguf"));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: " + config).contains("gpt2", "is not supported");
    }

    @Test
    void aFormatThatIsNone() {
        var result = Cli.run("export", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--format", "onnx", "--output",
                folder.resolve("a"));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).startsWith("error: Invalid value for option '--format'").contains("onnx");
    }
}
