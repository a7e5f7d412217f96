package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CompareCommandTest {

    @TempDir
    private static Path shared;

    private static Path tasks;
    private static Path protocol;
    private static Path output;
    private static Cli.Result result;

    @TempDir
    private Path folder;

    @BeforeAll
    static void run() throws IOException {
        tasks = CompareFixture.tasks(shared);
        protocol = CompareFixture.protocol(shared, tasks);
        output = shared.resolve("out");
        result = compare(protocol, output);
        assertThat(result.code()).as(result.err()).isZero();
    }

    private static Cli.Result compare(Path file, Path to, Object... more) {
        var arguments = new ArrayList<Object>(List.of("compare", file, "--output", to, "--threads", "2"));
        arguments.addAll(List.of(more));
        return Cli.run(arguments.toArray());
    }

    private static JsonNode row(JsonNode results, String arm, String on, Integer samples) {
        return StreamSupport.stream(results.get("rows").spliterator(), false).filter(row -> row.get("arm").asText().equals(arm)
                && row.get("on").asText().equals(on) && (samples == null ? row.get("samples").isNull() : row.get("samples").asInt() == samples))
                .findFirst().orElseThrow();
    }

    @Test
    void everyArmIsEvaluatedOnWhatItSays() throws IOException {
        JsonNode results = CompareFixture.results(output);
        assertThat(results.get("rows")).hasSize(2 + 1 + 1 + 4 + 2);
        JsonNode joint = row(results, "joint", "trained", null);
        assertThat(joint.get("seed_accuracy")).hasSize(2);
        assertThat(joint.get("mean_accuracy").asDouble()).isCloseTo((joint.at("/seed_accuracy/0").asDouble() + joint.at("/seed_accuracy/1").asDouble()) / 2,
                within(1e-12));
        assertThat(joint.get("task_accuracy").fieldNames()).toIterable().containsExactly("colour", "side");
        assertThat(row(results, "meta", "unseen", 8).get("task_accuracy").fieldNames()).toIterable().containsExactly("echo");
        assertThat(row(results, "base", "unseen", null).get("tokens").asLong()).isZero();
        assertThat(row(results, "meta", "unseen", 8).get("tokens").asLong()).isGreaterThan(row(results, "meta", "unseen", 4).get("tokens").asLong());
        assertThat(results.get("trials")).hasSize(6);
        assertThat(results.at("/questions/0/verdict").asText()).isIn("better", "not inferior", "worse", "open");
        assertThat(result.out()).contains("A small comparison", "joint LoRA", "Is joint better than nothing done?:", "meta on unseen, K = 8 against nothing");
        assertThat(Files.readString(output.resolve("results.md"))).contains("| joint LoRA | trained |", "## Trials");
        assertThat(Files.readString(output.resolve("report.html"))).contains("<svg", "Accuracy over samples, unseen tasks", "Accuracy over tokens");
    }

    @Test
    void theTrialThatIsBestOnDevIsReported() throws IOException {
        JsonNode results = CompareFixture.results(output);
        for (String arm : List.of("joint", "meta", "nothing")) {
            double best = -1;
            JsonNode chosen = null;
            for (JsonNode trial : results.get("trials")) {
                if (trial.get("arm").asText().equals(arm)) {
                    best = Math.max(best, trial.get("dev_accuracy").asDouble());
                    chosen = trial.get("chosen").asBoolean() ? trial : chosen;
                }
            }
            assertThat(chosen.get("dev_accuracy").asDouble()).as(arm).isEqualTo(best);
            JsonNode cell = new ObjectMapper().readTree(output.resolve("cells/" + arm + "/seed-2.json").toFile());
            assertThat(cell.get("settings")).as(arm).isEqualTo(chosen.get("settings"));
        }
    }

    @Test
    void aTrialIsJudgedByItsMeanOverTheTuningSeeds() throws IOException {
        Path two = Files.writeString(folder.resolve("two.yaml"), Files.readString(protocol).replace("tuning_seed: 7", "tuning_seed: [7, 8]"));
        Path to = folder.resolve("two");
        Cli.Result run = compare(two, to);
        assertThat(run.code()).as(run.err()).isZero();
        JsonNode results = CompareFixture.results(to);
        assertThat(results.get("trials")).hasSize(6);
        for (JsonNode trial : results.get("trials")) {
            String cells = trial.get("arm").asText() + "/trial-" + trial.get("trial").asInt() + "-seed-";
            for (int i = 0; i < 2; i++) {
                JsonNode cell = new ObjectMapper().readTree(to.resolve("cells/" + cells + (7 + i) + ".json").toFile());
                assertThat(accuracy(cell)).as(cells + (7 + i)).isCloseTo(trial.get("seed_dev_accuracy").get(i).asDouble(), within(1e-12));
            }
            assertThat(trial.get("dev_accuracy").asDouble()).as(cells).isCloseTo((trial.at("/seed_dev_accuracy/0").asDouble()
                    + trial.at("/seed_dev_accuracy/1").asDouble()) / 2, within(1e-12));
            JsonNode first = new ObjectMapper().readTree(output.resolve("cells/" + cells.replace("-seed-", ".json")).toFile());
            assertThat(accuracy(first)).as("the first seed's trial is the one with that seed alone").isCloseTo(trial.at("/seed_dev_accuracy/0").asDouble(),
                    within(1e-12));
        }
        assertThat(Files.readString(to.resolve("results.md"))).contains("With seed 7, 8 (their mean, and each), judged on dev");
    }

    /** Mean over tasks of the share of items that a cell's first row answers rightly. */
    private static double accuracy(JsonNode cell) {
        return StreamSupport.stream(cell.at("/rows/0/correct").spliterator(), false).map(JsonNode::asText)
                .mapToDouble(items -> items.chars().filter(c -> c == '1').count() / (double) items.length()).average().orElseThrow();
    }

    /** Each number can be had by the other verbs from what is kept. */
    @Test
    void aCellIsWhatTrainAndEvalGive() throws IOException {
        JsonNode cell = new ObjectMapper().readTree(output.resolve("cells/joint/seed-1.json").toFile());
        String lr = cell.at("/settings/optimizer.lr").asText();
        var trained = Cli.run("train", "model=" + Cli.model(), "data.folder=" + tasks, "data.names=[colour, side]", "output=" + folder.resolve("run"),
                "seed=1", "method=joint-lora", "joint.epochs=2", "joint.batch_size=8", "adapter.rank=2", "adapter.alpha=4", "data.samples_per_task=12",
                "optimizer.lr=" + lr, "compute.threads=2", "--no-eval");
        assertThat(trained.code()).as(trained.err()).isZero();
        var eval = Cli.run("eval", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", tasks, "--json", "--threads", "2");
        for (JsonNode task : new ObjectMapper().readTree(eval.out()).get("tasks")) {
            String correct = cell.at("/rows/0/correct").path(task.get("task").asText()).asText();
            if (!correct.isEmpty()) {
                assertThat(task.get("accuracy").asDouble()).as(task.get("task").asText())
                        .isCloseTo(correct.chars().filter(c -> c == '1').count() / (double) correct.length(), within(1e-12));
            }
        }
    }

    @Test
    void theSameCommandGoesOnAndDoesNothingTwice() throws IOException {
        Path copy = folder.resolve("copy");
        copy(output, copy);
        JsonNode before = CompareFixture.results(copy);
        Files.delete(copy.resolve("cells/joint/seed-2.json"));
        Files.delete(copy.resolve("results.json"));
        Files.writeString(copy.resolve("cells/base/seed-1.json"), "{\"arm\": \"ba");
        var again = compare(protocol, copy);
        assertThat(again.code()).as(again.err()).isZero();
        assertThat(CompareFixture.timeless(CompareFixture.results(copy))).isEqualTo(CompareFixture.timeless(before));
    }

    private static void copy(Path from, Path to) throws IOException {
        try (var files = Files.walk(from)) {
            for (Path file : files.toList()) {
                Files.copy(file, to.resolve(from.relativize(file)));
            }
        }
    }

    @Test
    void whatChangedMeanwhileIsRefused() throws IOException {
        Path copy = folder.resolve("copy");
        copy(output, copy);
        refused(compare(Files.writeString(folder.resolve("other.yaml"), Files.readString(protocol).replace("margin: 2", "margin: 3")), copy),
                "holds a comparison by another protocol");
        Path other = CompareFixture.tasks(folder);
        Files.writeString(other.resolve("side/test.jsonl"), "{\"prompt\": \"another one\", \"completion\": \" left\"}\n");
        refused(compare(protocol, copy, "--tasks", other), "since the comparison began, there has changed: the tasks");
        try (var channel = FileChannel.open(copy.resolve("compare.lock"), StandardOpenOption.WRITE); var _ = channel.lock()) {
            refused(compare(protocol, copy), "another process is at work on this comparison");
        }
        assertThat(Files.readString(copy.resolve("protocol.yaml"))).isEqualTo(Files.readString(protocol));
    }

    @Test
    void badInputIsRefusedAndNothingIsBegun() throws IOException {
        Path bad = CompareFixture.tasks(folder);
        Files.delete(bad.resolve("side/dev.jsonl"));
        notBegun(bad, "no dev split in task side");
        bad = CompareFixture.tasks(folder);
        Files.delete(bad.resolve("echo/test.jsonl"));
        notBegun(bad, "no test split in task echo");
        bad = CompareFixture.tasks(folder);
        Files.writeString(bad.resolve("echo/train.jsonl"), "{\"prompt\": \"say a:\", \"completion\": \" a\"}\n");
        notBegun(bad, "arms.meta: adapt.samples is 8, but task echo has 1 training samples");
        bad = CompareFixture.tasks(folder);
        Files.writeString(bad.resolve("side/test.jsonl"), "{\"prompt\": \"dev3 goes\", \"completion\": \" left\"}\n");
        notBegun(bad, "the test split of task side overlaps what is trained or chosen on, in 1 of 1 items", "side/test.jsonl:1 is ", "side/dev.jsonl:4");
        bad = CompareFixture.tasks(folder);
        Files.writeString(bad.resolve("echo/test.jsonl"), "{\"prompt\": \"cat train0 is\", \"completion\": \" red\"}\n");
        notBegun(bad, "echo/test.jsonl:1 is ", "colour/train.jsonl:1");

        Path there = Files.createDirectory(folder.resolve("there"));
        Files.writeString(there.resolve("mine.txt"), "mine");
        refused(compare(protocol, there), "is not empty and holds no comparison");
        refused(compare(protocol, folder.resolve("out"), "--model", folder.resolve("none")), "does not exist");
        refused(compare(folder.resolve("none.yaml"), folder.resolve("out")), "none.yaml: no such file");
        refused(compare(protocol, tasks.resolve("out"), "--tasks", tasks), "give another --output");
        assertThat(folder.resolve("out")).doesNotExist();
        assertThat(there).isDirectoryContaining(file -> file.endsWith("mine.txt"));
    }

    private void notBegun(Path bad, String... messages) {
        Path to = folder.resolve("out");
        refused(compare(protocol, to, "--tasks", bad), messages);
        assertThat(to).doesNotExist();
    }

    private static void refused(Cli.Result outcome, String... messages) {
        assertThat(outcome.code()).as(outcome.err()).isEqualTo(2);
        assertThat(outcome.err()).contains(messages);
    }

    @Test
    void samplesAreTakenForDevWhereThereIsNone() throws IOException {
        Path some = CompareFixture.tasks(folder);
        for (String task : List.of("colour", "side", "echo")) {
            Files.delete(some.resolve(task).resolve("dev.jsonl"));
        }
        Path with = Files.writeString(folder.resolve("with.yaml"), Files.readString(protocol).replace("dev_items: 4", "dev_from_train: 6"));
        var of = compare(with, folder.resolve("out"), "--tasks", some);
        assertThat(of.code()).as(of.err()).isZero();
        Path much = Files.writeString(folder.resolve("much.yaml"), Files.readString(protocol).replace("dev_items: 4", "dev_from_train: 20"));
        refused(compare(much, folder.resolve("much"), "--tasks", some), "is 12, but task colour has 4");
    }

    @Test
    void anArmThatDivergesLosesItsPlaceAlone() throws IOException {
        Path wild = Files.writeString(folder.resolve("wild.yaml"), Files.readString(protocol).replace("{optimizer.lr: 1e-3}, {optimizer.lr: 2e-2}",
                "{optimizer.lr: 3e37}, {optimizer.lr: 2e37}"));
        var of = compare(wild, folder.resolve("out"));
        assertThat(of.code()).as(of.err()).isZero();
        JsonNode results = CompareFixture.results(folder.resolve("out"));
        assertThat(row(results, "joint", "trained", null).get("mean_accuracy").isNull()).isTrue();
        assertThat(row(results, "joint", "trained", null).get("diverged")).hasSize(2);
        assertThat(row(results, "meta", "unseen", 8).get("mean_accuracy").isNumber()).isTrue();
        assertThat(results.at("/questions/0/verdict").asText()).contains("diverged");
    }
}
