package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is adapted for the evaluation at the end is adapted at the rates that training came to. */
class LearnedRatesEvaluationTest {

    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    private Path folder;

    /** Trains without a step of the shared adapter, so that runs differ in their inner rates alone. */
    private Path train(String name, String... overrides) throws IOException {
        Path run = folder.resolve(name);
        var arguments = new ArrayList<Object>(List.of("train", Cli.config(folder, Cli.tasks(folder), run), "optimizer.lr=0",
                "meta.inner_lr=0.003", "meta.inner_steps=6"));
        arguments.addAll(List.of(overrides));
        var result = Cli.run(arguments.toArray());
        assertThat(result.code()).as(result.err()).isZero();
        return run;
    }

    private static List<JsonNode> answers(Path run) throws IOException {
        var answers = new ArrayList<JsonNode>();
        for (String line : Files.readAllLines(run.resolve("evaluation.jsonl"))) {
            JsonNode node = JSON.readTree(line);
            if (node.path("arm").asText().equals("after stage 1")) {
                answers.add(node);
            }
        }
        return answers;
    }

    @Test
    void adaptsAtThem() throws IOException {
        Path learned = train("learned", "meta.inner_rate_lr=1");
        // Those of one more iteration: the last line has what the seventh was taken with.
        Path longer = train("longer", "meta.inner_rate_lr=1", "meta.iterations=7");
        var rates = new ArrayList<String>();
        JSON.readTree(Files.readAllLines(longer.resolve("metrics.jsonl")).getLast()).get("inner_rates").fields()
                .forEachRemaining(rate -> rates.add(rate.getKey() + "=" + rate.getValue().asText()));
        var kept = new ArrayList<String>();
        JsonNode file = JSON.readTree(learned.resolve("inner_rates.json").toFile());
        file.get("rates").forEach(rate -> kept.add(rate.get("linear").asText() + "=" + rate.get("rate").asText()));
        assertThat(kept).as("those after the sixth").isEqualTo(rates);
        assertThat(file.get("adapts").asText()).isEqualTo("all");
        assertThat(file.get("inner_optimizer").asText()).isEqualTo("sgd");
        assertThat(learned.resolve("report.html")).content().contains("Learned inner rates");
        assertThat(answers(learned)).isNotEmpty().isEqualTo(answers(train("fixed", "meta.inner_rates=" + rates)))
                .isNotEqualTo(answers(train("first")));
        assertThat(folder.resolve("first/inner_rates.json")).as("they stayed as they were").doesNotExist();
        assertThat(folder.resolve("first/report.html")).content().doesNotContain("Learned inner rates");
    }
}
