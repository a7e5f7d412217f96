package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.config.TrainConfig;
import io.metalora.io.ModelConfig;
import io.metalora.task.EncodedExample;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PreviewCommandTest {

    @TempDir
    private Path folder;

    private Path tasks;
    private Path config;

    @BeforeEach
    void data() throws IOException {
        tasks = Cli.tasks(folder);
        config = Cli.config(folder, tasks, folder.resolve("run"));
    }

    private static void add(Path file, String prompt, String completion) throws IOException {
        Files.writeString(file, "{\"prompt\": \"" + prompt + "\", \"completion\": \"" + completion + "\"}\n", StandardOpenOption.APPEND);
    }

    private JsonNode json(Object... more) throws IOException {
        var args = new ArrayList<Object>(List.of("preview", config, "--json"));
        args.addAll(Arrays.asList(more));
        var result = Cli.run(args.toArray());
        assertThat(result.code()).as(result.err()).isZero();
        return new ObjectMapper().readTree(result.out());
    }

    @Test
    void trainedTokensAreMarked() {
        var result = Cli.run("preview", config, "--task", "colour", "-n", "1");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).contains("colour/train.jsonl:").containsPattern("(?m)^    .*is\\[\\[ (red|blue).*\\]\\]$")
                .containsPattern("(?m)^    ids [0-9 ]+ \\[\\[[0-9 ]+\\]\\]$").contains("colour: 2 labels: \" blue\", \" red\"").doesNotContain("echo");
    }

    @Test
    void idsAndLossAreThoseOfTraining() throws IOException {
        ModelConfig model = ModelConfig.read(Cli.model());
        try (var tokenizer = TextTokenizer.load(Cli.model())) {
            var encoder = TrainConfig.read(config, List.of()).encoder(tokenizer, model);
            var train = TaskFolder.read(tasks, List.of("side")).getFirst().train();
            JsonNode shown = json("data.samples_per_task=0", "--task", "side", "-n", "all").at("/tasks/0/examples");
            assertThat(shown).hasSize(train.size());
            for (int i = 0; i < train.size(); i++) {
                EncodedExample example = encoder.encode(train.get(i));
                JsonNode spans = shown.get(i).get("spans");
                assertThat(ids(spans.get(0))).containsExactly(example.prompt());
                assertThat(spans.get(0).get("trained").asBoolean()).isFalse();
                assertThat(ids(spans.get(1))).containsExactly(Arrays.copyOfRange(example.ids(), example.promptLength(), example.length()));
                assertThat(spans.get(1).get("trained").asBoolean()).isTrue();
                assertThat(spans.get(1).get("text").asText()).startsWith(train.get(i).completion());
                assertThat(spans.get(0).get("text").asText()).endsWith(train.get(i).prompt());
            }
        }
    }

    private static int[] ids(JsonNode span) {
        var ids = new ArrayList<Integer>();
        span.get("ids").forEach(id -> ids.add(id.asInt()));
        return ids.stream().mapToInt(id -> id).toArray();
    }

    @Test
    void duplicatesAreCountedWithinAndBetweenSplits() throws IOException {
        Path colour = tasks.resolve("colour");
        add(colour.resolve("train.jsonl"), "cat train0 is", " red");
        add(colour.resolve("dev.jsonl"), "cat train0 is", " red");
        add(colour.resolve("test.jsonl"), "cat train0 is", " blue");
        JsonNode task = json("--task", "colour").at("/tasks/0");
        assertThat(task.at("/splits/0/duplicates").asInt()).isEqualTo(1);
        assertThat(task.at("/splits/1/duplicates").asInt()).isZero();
        assertThat(task.at("/overlaps").toString()).isEqualTo("""
                [{"split":"dev","with":"train","same":1,"same_prompt":0},\
                {"split":"test","with":"train","same":0,"same_prompt":1},\
                {"split":"test","with":"dev","same":0,"same_prompt":1}]""");
        assertThat(Cli.run("preview", config).out()).contains("colour: 1 of dev are also in train, prompt and completion",
                "colour: 1 of test have a prompt of train with another completion");
    }

    @Test
    void whatIsTooLongIsCountedAndNotShown() throws IOException {
        Path train = tasks.resolve("colour/train.jsonl");
        add(train, "cat ".repeat(60) + "is", " red");
        JsonNode split = json("--task", "colour", "compute.token_budget=60", "data.samples_per_task=0", "-n", "all").at("/tasks/0");
        JsonNode numbers = split.at("/splits/0");
        assertThat(numbers.get("too_long").asInt()).isEqualTo(1);
        assertThat(numbers.get("samples").asInt()).isEqualTo(25);
        assertThat(numbers.get("used").asInt()).isEqualTo(24);
        assertThat(numbers.get("max_tokens").asInt()).isGreaterThan(60);
        assertThat(numbers.get("min_tokens").asInt()).isLessThanOrEqualTo(numbers.get("median_tokens").asInt());
        assertThat(split.get("examples")).hasSize(24).allSatisfy(example -> assertThat(example.get("tokens").asInt()).isLessThanOrEqualTo(60));
    }

    @Test
    void whatTrainingCutsIsShownCut() throws IOException {
        Path train = tasks.resolve("colour/train.jsonl");
        add(train, "cat ".repeat(60) + "is", " red");
        JsonNode task = json("--task", "colour", "data.max_length=40", "data.over_length=truncate", "data.samples_per_task=0", "-n", "all").at("/tasks/0");
        assertThat(task.at("/splits/0/too_long").asInt()).isEqualTo(1);
        assertThat(task.at("/splits/0/used").asInt()).isEqualTo(25);
        JsonNode cut = task.at("/examples/24");
        assertThat(cut.get("tokens").asInt()).isEqualTo(40);
        assertThat(cut.at("/spans/0/text").asText()).endsWith("cat is");
        assertThat(cut.at("/spans/1/text").asText()).startsWith(" red");
    }

    @Test
    void neitherTheTextOfAnExampleNorATasksNameReachesTheTerminalRaw() throws IOException {
        add(tasks.resolve("colour/train.jsonl"), "a\\u001b[31m", " red");
        var result = Cli.run("preview", config, "--task", "colour", "data.samples_per_task=0", "-n", "all");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).doesNotContain("\u001b");
    }

    @Test
    void onATerminalTrainedTokensAreColoured() {
        var example = new EncodedPreview("f:1", 3, 2, List.of(new EncodedPreview.Span(false, "a\nb", List.of(1)),
                new EncodedPreview.Span(true, " c", List.of(2, 3))));
        assertThat(new PreviewText(true).example(example)).isEqualTo("f:1: 3 tokens, 2 trained\n    a\n    b\u001b[32m c\u001b[0m\n    ids 1 \u001b[32m2 3\u001b[0m\n");
        assertThat(new PreviewText(false).example(example)).isEqualTo("f:1: 3 tokens, 2 trained\n    a\n    b[[ c]]\n    ids 1 [[2 3]]\n");
    }

    @Test
    void thePageHasTheSameAndIsNotWrittenOver() throws IOException {
        add(tasks.resolve("colour/train.jsonl"), "<script>", " red");
        Path page = folder.resolve("preview.html");
        var result = Cli.run("preview", config, "data.samples_per_task=0", "-n", "all", "--html", page);
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(page).content().contains("<mark> red", "&lt;script&gt;", "2 labels").doesNotContain("<script>");
        byte[] before = Files.readAllBytes(page);
        var again = Cli.run("preview", config, "--html", page);
        assertThat(again.code()).isEqualTo(2);
        assertThat(again.err()).contains("preview.html", "already exists");
        assertThat(page).hasBinaryContent(before);
    }

    @Test
    void weightsAreNotNeeded() throws IOException {
        Path model = Cli.copyOfModel(folder);
        try (var files = Files.newDirectoryStream(model, "*.safetensors")) {
            for (Path file : files) {
                Files.delete(file);
            }
        }
        var result = Cli.run("preview", config, "model=" + model);
        assertThat(result.code()).as(result.err()).isZero();
    }

    @Test
    void badInputSaysWhatIsWrong() {
        assertBad(Cli.run("preview", config, "--task", "color"), "holds no task named \"color\"");
        assertBad(Cli.run("preview", config, "data.names=[echo]", "--task", "colour"), "--task \"colour\" is not one of data.names: echo");
        assertBad(Cli.run("preview", "data.folder=" + tasks), "model is not set");
        assertBad(Cli.run("preview", "model=" + Cli.model()), "data.folder is not set");
        assertBad(Cli.run("preview", config, "-n", "0"), "'0' is neither a number from 1 on nor 'all'");
    }

    private static void assertBad(Cli.Result result, String message) {
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(message);
        assertThat(result.out()).isEmpty();
    }

    @Test
    void theExamplesOfTheHelpWork() throws IOException {
        List<String> lines = Cli.run("preview", "--help").out().lines().map(String::strip).filter(line -> line.startsWith("metalora preview ")).toList();
        assertThat(lines).hasSize(2);
        for (String line : lines) {
            Object[] args = Arrays.stream(line.substring("metalora ".length()).split(" "))
                    .map(word -> word.matches(".*\\.(yaml|html)") ? folder.resolve(word).toString() : word).toArray();
            var result = Cli.run(args);
            assertThat(result.code()).as(line + ": " + result.err()).isZero();
        }
        assertThat(folder.resolve("preview.html")).exists();
    }
}
