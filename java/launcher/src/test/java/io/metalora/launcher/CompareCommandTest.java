package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.launcher.report.Picture;
import io.metalora.runtime.HostTensor;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.w3c.dom.Element;

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
        assertThat(results.get("rows")).hasSize(2 + 1 + 1 + 1 + 4 + 2);
        JsonNode joint = row(results, "joint", "trained", null);
        assertThat(joint.get("seed_accuracy")).hasSize(2);
        assertThat(joint.get("mean_accuracy").asDouble()).isCloseTo((joint.at("/seed_accuracy/0").asDouble() + joint.at("/seed_accuracy/1").asDouble()) / 2,
                within(1e-12));
        assertThat(joint.get("task_accuracy").fieldNames()).toIterable().containsExactly("colour", "side");
        assertThat(row(results, "meta", "unseen", 8).get("task_accuracy").fieldNames()).toIterable().containsExactly("echo");
        assertThat(row(results, "base", "unseen", null).get("tokens").asLong()).isZero();
        assertThat(row(results, "meta", "unseen", 8).get("tokens").asLong()).isGreaterThan(row(results, "meta", "unseen", 4).get("tokens").asLong());
        assertThat(results.get("trials")).hasSize(8);
        assertThat(results.at("/questions/0/verdict").asText()).isIn("better", "not inferior", "worse", "open");
        assertThat(result.out()).contains("A small comparison", "joint LoRA", "Is joint better than nothing done?:", "meta on unseen, K = 8 against nothing");
        assertThat(Files.readString(output.resolve("results.md"))).contains("| joint LoRA | trained |", "## Trials");
        assertThat(Files.readString(output.resolve("report.html"))).contains("<svg", "Accuracy over samples, unseen tasks", "Accuracy over tokens");
    }

    @Test
    void theTrialThatIsBestOnDevIsReported() throws IOException {
        JsonNode results = CompareFixture.results(output);
        for (String arm : List.of("joint", "asymmetric", "meta", "nothing")) {
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
        assertThat(results.get("trials")).hasSize(8);
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

    /** Read off the page by the labels of its axes. */
    @Test
    void thePicturesOfThePageShowTheNumbersOfTheResults() throws IOException {
        JsonNode results = CompareFixture.results(output);
        String page = Files.readString(output.resolve("report.html"));
        Picture forest = Picture.of(page, "Differences");
        JsonNode questions = results.get("questions");
        assertThat(forest.all("text", "name")).extracting(Element::getTextContent)
                .containsExactlyElementsOf(questions.findValuesAsText("ask"));
        for (int i = 0; i < questions.size(); i++) {
            JsonNode question = questions.get(i);
            Element interval = forest.all("line", "interval").get(i);
            isAt(forest.all("circle", "after").get(i), "cx", forest.x(question.get("points").asDouble()));
            isAt(interval, "x1", forest.x(question.get("low").asDouble()));
            isAt(interval, "x2", forest.x(question.get("high").asDouble()));
            isAt(forest.all("line", "margin").get(i), "x1", forest.x(-question.get("margin").asDouble()));
        }
        Picture curves = Picture.of(page, "Accuracy over samples, unseen tasks");
        List<Element> dots = curves.all("circle", "dot");
        assertThat(dots).hasSize(2);
        for (int i = 0; i < 2; i++) {
            int samples = i == 0 ? 4 : 8;
            isAt(dots.get(i), "cx", curves.xOfLabel(samples));
            isAt(dots.get(i), "cy", curves.y(100 * row(results, "meta", "unseen", samples).get("mean_accuracy").asDouble()));
        }
    }

    private static void isAt(Element element, String attribute, double position) {
        assertThat(Picture.at(element, attribute)).as(attribute).isCloseTo(position, within(Picture.PIXELS));
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

    /** Of the adapters in the run's folder, each on its task. */
    @Test
    void anArmOfOneAForAllTasksAnswersEachTaskByItsOwnAdapter() throws IOException {
        JsonNode cell = new ObjectMapper().readTree(output.resolve("cells/asymmetric/seed-1.json").toFile());
        assertThat(cell.at("/training/tokens").asLong()).isPositive();
        int found = 0;
        try (var runs = Files.list(output.resolve("runs"))) {
            for (Path run : runs.filter(of -> Files.isDirectory(of.resolve("adapters"))).toList()) {
                String config = Files.readString(run.resolve("config.resolved.yaml"));
                if (!config.contains("seed: 1\n") || !config.contains("  lr: "
                        + Double.parseDouble(cell.at("/settings/optimizer.lr").asText()) + "\n")) {
                    continue;
                }
                found++;
                for (String task : List.of("colour", "side")) {
                    var eval = Cli.run("eval", "--model", Cli.model(), "--adapter", run.resolve("adapters").resolve(task),
                            "--tasks", tasks, "--json",
                            "--threads", "2");
                    String correct = cell.at("/rows/0/correct/" + task).asText();
                    assertThat(correct).isNotEmpty();
                    for (JsonNode of : new ObjectMapper().readTree(eval.out()).get("tasks")) {
                        if (of.get("task").asText().equals(task)) {
                            assertThat(of.get("accuracy").asDouble()).isCloseTo(correct.chars().filter(c -> c == '1').count()
                                    / (double) correct.length(), within(1e-12));
                        }
                    }
                }
            }
        }
        assertThat(found).isEqualTo(1);
    }

    @Test
    void whatIsMeasuredAlongATrainingIsInTheCellWithItsCost() throws IOException {
        JsonNode training = new ObjectMapper().readTree(output.resolve("cells/joint/seed-2.json").toFile()).get("training");
        var iterations = new ArrayList<Long>();
        long tokens = 0;
        for (JsonNode point : training.get("track")) {
            iterations.add(point.get("iteration").asLong());
            assertThat(point.get("tokens").asLong()).isGreaterThan(tokens);
            tokens = point.get("tokens").asLong();
            assertThat(point.get("accuracy").asDouble()).isBetween(0.0, 1.0);
            assertThat(point.get("seconds").asDouble()).isPositive().isLessThanOrEqualTo(training.get("seconds").asDouble());
        }
        assertThat(iterations).containsExactly(2L, 4L, 6L); // 24 samples in batches of 8, twice
        assertThat(tokens).isEqualTo(training.get("tokens").asLong());
        JsonNode ofMeta = new ObjectMapper().readTree(output.resolve("cells/meta/seed-1.json").toFile()).at("/training/track");
        assertThat(ofMeta.findValuesAsText("iteration")).as("every third, and the last").containsExactly("3", "4");
        assertThat(new ObjectMapper().readTree(output.resolve("cells/joint/trial-1.json").toFile()).get("training").has("track"))
                .isFalse();

        JsonNode tracks = CompareFixture.results(output).get("tracks");
        assertThat(tracks).hasSize(2);
        assertThat(tracks.at("/0/until/0/end_of").asText()).isEqualTo("meta");
        double goal = 0;
        int reached = 0;
        for (String seed : List.of("1", "2")) {
            JsonNode meta = tracks.at("/1/seeds/" + seed);
            double end = meta.get(meta.size() - 1).get("accuracy").asDouble();
            goal += end / 2;
            reached += tracks.at("/0/seeds/" + seed).findValues("accuracy").stream().anyMatch(at -> at.asDouble() >= end) ? 1 : 0;
        }
        assertThat(tracks.at("/0/until/0/accuracy").asDouble()).isCloseTo(goal, within(1e-12));
        assertThat(tracks.at("/0/until/0/reached").asInt()).isEqualTo(reached);
        assertThat(Files.readString(output.resolve("results.md"))).contains("## Tokens until another arm's end",
                "| joint LoRA | meta |");
        assertThat(Files.readString(output.resolve("report.html"))).contains("Accuracy along training");
    }

    /** What is measured changes nothing of what is trained. */
    @Test
    void theLastPointIsTheAccuracyOfTheTrainedAdapterOnDev() throws IOException {
        JsonNode cell = new ObjectMapper().readTree(output.resolve("cells/joint/seed-1.json").toFile());
        String lr = cell.at("/settings/optimizer.lr").asText();
        assertThat(Cli.run("train", "model=" + Cli.model(), "data.folder=" + tasks, "data.names=[colour, side]",
                "output=" + folder.resolve("run"),
                "seed=1", "method=joint-lora", "joint.epochs=2", "joint.batch_size=8", "adapter.rank=2", "adapter.alpha=4",
                "data.samples_per_task=12",
                "optimizer.lr=" + lr, "compute.threads=2", "--no-eval").code()).isZero();
        var eval = Cli.run("eval", "--model", Cli.model(), "--adapter", folder.resolve("run/adapter"), "--tasks", tasks,
                "--split", "dev", "--samples",
                "4", "--json", "--threads", "2");
        assertThat(eval.code()).as(eval.err()).isZero();
        double mean = 0;
        for (JsonNode task : new ObjectMapper().readTree(eval.out()).get("tasks")) {
            mean += task.get("task").asText().equals("echo") ? 0 : task.get("accuracy").asDouble() / 2;
        }
        assertThat(cell.at("/training/track/2/accuracy").asDouble()).isCloseTo(mean, within(1e-12));
    }

    @Test
    void cellsOfAnotherDeviceAreToldOf() throws IOException {
        assertThat(Files.readString(output.resolve("results.md"))).doesNotContain("more than one device");
        Path copy = folder.resolve("copy");
        copy(output, copy);
        Path cell = copy.resolve("cells/joint/seed-2.json");
        Files.writeString(cell, Files.readString(cell).replaceFirst("\"device\" : \"[^\"]*\"",
                "\"device\" : \"Another device\""));
        assertThat(compare(protocol, copy).code()).isZero();
        assertThat(Files.readString(copy.resolve("results.md")))
                .contains("Cells were computed on more than one device: 1 on Another device; ");
        assertThat(CompareFixture.results(copy).at("/devices/Another device").asInt()).isEqualTo(1);
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

    /** What needs the model's configuration or tokenizer to be seen, too. */
    @ParameterizedTest
    @CsvSource(delimiter = '~', textBlock = """
            support_size: 3 ~ support_size: 12           ~ arms.meta, trial 1: task colour has 12 samples
            shots: 2        ~ shots: 20                  ~ more tokens than the model's context
            alpha: 4        ~ alpha: 4, target_modules: x ~ matches no Linear
            """)
    void aProtocolThatCannotBeRunLeavesNoFolder(String of, String with, String message) throws IOException {
        Path bad = Files.writeString(folder.resolve("bad.yaml"), Files.readString(protocol).replace(of, with));
        refused(compare(bad, folder.resolve("out")), message);
        assertThat(folder.resolve("out")).doesNotExist();
        Path empty = Files.createDirectory(folder.resolve("empty"));
        refused(compare(bad, empty), message);
        assertThat(empty).as("one that was there before").exists();
    }

    /** A training's own file of its cost, which says that it is finished: computed again, as cells are. */
    @ParameterizedTest
    @ValueSource(strings = {"{}", "{\"iterations\": 4, \"tokens\": 5, \"seconds\": 1e999}", "{\"iterations\": -1, \"tokens\": 5}", "{",
        "{\"iterations\": 4, \"tokens\": 5, \"seconds\": 1, \"diverged\": null}",
        "{\"iterations\": 4, \"tokens\": 5, \"seconds\": 1, \"diverged\": \"\\ud800\"}"})
    void aDamagedCostIsComputedAgain(String damaged) throws IOException {
        Path copy = folder.resolve("copy");
        Path run = toAnswerAgain(copy, "meta-lora").getParent();
        Files.writeString(run.resolve("cost.json"), damaged);
        var again = compare(protocol, copy);
        assertThat(again.code()).as(again.err()).isZero();
        CompareFixture.requireSame(copy, output, damaged);
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

    /**
     * A copy of the comparison whose cell of an arm is to be answered again, by an adapter that a test changes; returns the
     * adapter's folder.
     */
    private Path toAnswerAgain(Path copy, String method) throws IOException {
        copy(output, copy);
        Files.delete(copy.resolve("cells/meta/seed-2.json"));
        try (var runs = Files.list(copy.resolve("runs"))) {
            for (Path run : runs.toList()) {
                String config = Files.readString(run.resolve("config.resolved.yaml"));
                if (config.contains("method: " + method + "\n") && config.contains("\nseed: 2\n")) {
                    return run.resolve("adapter");
                }
            }
        }
        throw new AssertionError("no run of " + method);
    }

    @Test
    void anAdapterThatItsTrainingMadeTooLargeIsThatArmsDivergence() throws IOException {
        Path copy = folder.resolve("copy");
        Path file = toAnswerAgain(copy, "meta-lora").resolve("adapter_model.safetensors");
        var tensors = new TreeMap<String, HostTensor>();
        try (var in = Safetensors.open(file)) {
            for (String name : in.names()) {
                float[] values = in.tensor(name).toFloats();
                Arrays.fill(values, 3e38f);
                tensors.put(name, HostTensor.of(name, values, in.tensor(name).shape()));
            }
        }
        Safetensors.write(file, tensors, Map.of());
        var again = compare(protocol, copy);
        assertThat(again.code()).as(again.err()).isZero();
        JsonNode row = row(CompareFixture.results(copy), "meta", "unseen", 8);
        assertThat(row.get("diverged")).singleElement().asString().contains("seed 2: ").contains("NaN or infinity");
    }

    @Test
    void aDamagedFileIsNoDivergence() throws IOException {
        Path copy = folder.resolve("copy");
        Path file = toAnswerAgain(copy, "meta-lora").resolve("adapter_model.safetensors");
        Files.write(file, Arrays.copyOf(Files.readAllBytes(file), 100));
        refused(compare(protocol, copy), file.toString());
        assertThat(copy.resolve("cells/meta/seed-2.json")).doesNotExist();
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
