package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A mixture on the way through the verbs. */
class MixtureCommandsTest {

    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    @Test
    void isTrainedAndThenTakenByEveryVerb() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        var trained = Cli.run("train", Cli.config(folder, tasks, run), "adapter.kind=mixture", "adapter.heads=3");
        assertThat(trained.code()).as(trained.err()).isZero();
        Path adapter = run.resolve("adapter");
        JsonNode config = JSON.readTree(adapter.resolve("adapter_config.json").toFile());
        assertThat(config.get("lora_nums").asInt()).isEqualTo(3);
        assertThat(config.get("peft_type").asText()).isNotEqualTo("LORA");

        JsonNode heads = JSON.readTree(run.resolve("heads.json").toFile()).get("tasks");
        assertThat(heads).hasSize(3);
        for (JsonNode task : heads) {
            assertThat(task.get("tokens").asLong()).isPositive();
            assertThat(task.get("weights")).hasSize(3);
            double sum = 0;
            for (JsonNode weight : task.get("weights")) {
                sum += weight.asDouble();
            }
            assertThat(sum).isCloseTo(1, within(1e-6));
        }
        assertThat(Files.readString(run.resolve("report.html")))
                .contains("MeTA-LoRA of a mixture", "3 heads of rank", "<h2>Use of heads</h2>")
                .containsPattern("(?s)Use of heads</h2>.*class=\"cell\"");

        var evaluated = Cli.run("eval", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--json");
        assertThat(evaluated.code()).as(evaluated.err()).isZero();
        assertThat(JSON.readTree(evaluated.out()).get("tasks")).hasSize(3);

        Path data = tasks.resolve("colour/test.jsonl");
        var scored = Cli.run("score", "--model", Cli.model(), "--adapter", adapter, "--data", data);
        assertThat(scored.code()).as(scored.err()).isZero();
        assertThat(scored.out()).isNotEqualTo(Cli.run("score", "--model", Cli.model(), "--data", data).out());

        var generated = Cli.run("generate", "--model", Cli.model(), "--adapter", adapter, "--prompt", "cat is",
                "--max-new-tokens", "5");
        assertThat(generated.code()).as(generated.err()).isZero();

        Path adapted = folder.resolve("adapted");
        var result = Cli.run("adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--output", adapted,
                "--samples", "8", "--epochs", "2");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(JSON.readTree(adapted.resolve("colour/adapter_config.json").toFile()).get("lora_nums").asInt()).isEqualTo(3);
    }

    @Test
    void isAdaptedInThePartThatIsNamed() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        var trained = Cli.run("train", Cli.config(folder, tasks, run), "adapter.kind=mixture", "adapter.heads=2", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        Path adapter = run.resolve("adapter");
        for (String part : List.of("b", "heads-and-router")) {
            Path adapted = folder.resolve(part);
            var result = Cli.run("adapt", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks, "--output", adapted,
                    "--adapts", part, "--steps", "2", "--eval-samples", "1");
            assertThat(result.code()).as(result.err()).isZero();
            assertThat(JSON.readTree(adapted.resolve("adapt.json").toFile()).at("/settings/adapts").asText()).isEqualTo(part);
            try (var shared = Safetensors.open(adapter.resolve("adapter_model.safetensors"));
                 var own = Safetensors.open(adapted.resolve("side/adapter_model.safetensors"))) {
                assertThat(own.names()).isNotEmpty().allSatisfy(name ->
                        assertThat(Arrays.equals(own.tensor(name).toFloats(), shared.tensor(name).toFloats())).as(name)
                                .isEqualTo(name.contains("lora_A") || name.contains("lora_route") && part.equals("b")));
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"joint-lora, joint mixture", "separate-lora, mixture of each task"})
    void otherMethodsTrainItToo(String method, String name) throws IOException {
        Path run = folder.resolve("run");
        var trained = Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), "adapter.kind=mixture", "adapter.heads=2",
                "method=" + method, "joint.epochs=1", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(Files.readString(run.resolve("report.html"))).contains("run: " + name, "Use of heads");
        assertThat(JSON.readTree(run.resolve("heads.json").toFile()).get("tasks")).hasSize(3);
    }

    @Test
    void aLoraRunSpeaksOfNoHeads() throws IOException {
        Path run = folder.resolve("run");
        var trained = Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), "meta.iterations=1", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        assertThat(run.resolve("heads.json")).doesNotExist();
        assertThat(Files.readString(run.resolve("report.html"))).doesNotContain("Use of heads");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "adapter.heads=0        | adapter.heads is 0, but must be between 1 and",
        "adapter.heads=many     | adapter.heads: expected a whole number",
        "adapter.kind=hydralora | adapter.kind",
        "meta.adapts=heads-and-router | but adapters of adapter.kind: lora have no router"})
    void badSettingsEndWithTwo(String setting, String message) throws IOException {
        Path run = folder.resolve("run");
        var refused = Cli.run("train", Cli.config(folder, Cli.tasks(folder), run), setting);
        assertThat(refused.code()).isEqualTo(2);
        assertThat(refused.err()).contains(message);
        assertThat(run).doesNotExist();
    }
}
