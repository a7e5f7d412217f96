package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.HostTensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
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

    /** LoRA with the mean of the heads as its B, written as PEFT has it, answers the same. */
    @Test
    void withoutItsRouterItAnswersAsTheMeanOfItsHeads() throws IOException {
        Path tasks = Cli.tasks(folder);
        Path run = folder.resolve("run");
        assertThat(Cli.run("train", Cli.config(folder, tasks, run), "adapter.kind=mixture", "adapter.heads=2",
                "method=joint-lora",
                "optimizer.lr=0.05", "--no-eval").code()).isZero();
        Path mixture = run.resolve("adapter");
        Path mean = Files.createDirectories(folder.resolve("mean"));
        ObjectNode config = (ObjectNode) JSON.readTree(mixture.resolve("adapter_config.json").toFile());
        config.put("peft_type", "LORA").remove("lora_nums");
        Files.writeString(mean.resolve("adapter_config.json"), config.toString());
        var tensors = new TreeMap<String, HostTensor>();
        try (var in = Safetensors.open(mixture.resolve("adapter_model.safetensors"))) {
            for (String name : in.names()) {
                if (name.endsWith("lora_A.weight")) {
                    tensors.put(name, in.tensor(name));
                } else if (name.endsWith("lora_B0.weight")) {
                    float[] b = in.tensor(name).toFloats();
                    float[] second = in.tensor(name.replace("lora_B0", "lora_B1")).toFloats();
                    for (int i = 0; i < b.length; i++) {
                        b[i] = (b[i] + second[i]) / 2;
                    }
                    String of = name.replace("lora_B0", "lora_B");
                    tensors.put(of, HostTensor.of(of, b, in.tensor(name).shape()));
                }
            }
            Safetensors.write(mean.resolve("adapter_model.safetensors"), tensors, Map.of());
        }
        var even = eval(mixture, tasks, "--even-heads");
        assertThat(even.code()).as(even.err()).isZero();
        assertThat(JSON.readTree(even.out()).get("tasks")).isEqualTo(JSON.readTree(eval(mean, tasks).out()).get("tasks"));

        var lora = eval(mean, tasks, "--even-heads");
        assertThat(lora.code()).isEqualTo(2);
        assertThat(lora.err()).contains("--even-heads: the adapter is LoRA, which has no heads to give the same weight; omit it");
        var none = Cli.run("eval", "--model", Cli.model(), "--tasks", tasks, "--even-heads");
        assertThat(none.code()).isEqualTo(2);
        assertThat(none.err()).contains("--even-heads is for an adapter that is a mixture");
    }

    private static Cli.Result eval(Path adapter, Path tasks, Object... more) {
        var arguments = new ArrayList<Object>(List.of("eval", "--model", Cli.model(), "--adapter", adapter, "--tasks", tasks,
                "--json"));
        arguments.addAll(List.of(more));
        return Cli.run(arguments.toArray());
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
