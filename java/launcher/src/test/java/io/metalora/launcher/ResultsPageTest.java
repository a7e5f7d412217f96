package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;

/** docs/results.md says what the results in bench/results say. */
class ResultsPageTest {

    private static final Path REPOSITORY = Path.of("../..").toAbsolutePath().normalize();
    private static final Path RESULTS = REPOSITORY.resolve("bench/results");
    private static final Pattern NAME = Pattern.compile("Results: \\[bench/results/([\\w-]+)]");
    private static final Pattern SEEDS = Pattern.compile("Seeds ([0-9]+(?:, [0-9]+)*)");
    private static final Pattern TABLE = Pattern.compile("(accuracy on|tokens,) (trained|unseen)(?:, %)?");
    /** With one digit after the point, or with commas between thousands; not a part of another number, a name or a version. */
    private static final Pattern NUMBER =
            Pattern.compile("(?<![\\w.,+-])[+-]?(?:\\d+\\.\\d|\\d{1,3}(?:,\\d{3})+)(?![\\w]|[.,]\\d)");

    /** By the name of the folder, the text of its section. */
    private static Map<String, String> sections() throws IOException {
        var sections = new LinkedHashMap<String, String>();
        for (String section : Files.readString(REPOSITORY.resolve("docs/results.md")).split("(?m)^## ")) {
            NAME.matcher(section).results().forEach(match -> assertThat(sections.put(match.group(1), section))
                    .as(match.group(1)).isNull());
        }
        return sections;
    }

    private static JsonNode results(String name) throws IOException {
        return new ObjectMapper().readTree(RESULTS.resolve(name).resolve("results.json").toFile());
    }

    private static List<List<List<String>>> tables(String section) {
        var tables = new ArrayList<List<List<String>>>();
        String before = "";
        for (String line : section.lines().toList()) {
            if (line.startsWith("|")) {
                if (!before.startsWith("|")) {
                    tables.add(new ArrayList<>());
                }
                String cells = line.substring(1, line.lastIndexOf('|'));
                tables.getLast().add(Arrays.stream(cells.split("\\|", -1)).map(String::strip).toList());
            }
            before = line;
        }
        return tables;
    }

    @Test
    void everyComparisonThatHasResultsHasASectionWithItsProtocolAndSeeds() throws IOException {
        try (var folders = Files.list(RESULTS)) {
            assertThat(folders.filter(folder -> Files.exists(folder.resolve("results.json")))
                    .map(folder -> folder.getFileName().toString())).containsExactlyInAnyOrderElementsOf(sections().keySet());
        }
        for (var section : sections().entrySet()) {
            String protocol = "bench/protocols/" + section.getKey() + ".yaml";
            assertThat(section.getValue()).contains("    ./metalora compare " + protocol + " ",
                    "--output bench/results/" + section.getKey());
            assertThat(RESULTS.resolve(section.getKey()).resolve("protocol.yaml"))
                    .hasSameTextualContentAs(REPOSITORY.resolve(protocol));
            var seeds = SEEDS.matcher(section.getValue()).results().toList();
            assertThat(seeds).as("the seeds of " + section.getKey()).hasSize(1);
            assertThat("[" + seeds.getFirst().group(1).replace(" ", "") + "]")
                    .isEqualTo(results(section.getKey()).get("seeds").toString());
        }
    }

    @Test
    void everyQuestionIsAnsweredAsItsResultsDo() throws IOException {
        for (var section : sections().entrySet()) {
            List<List<String>> table = tables(section.getValue()).stream()
                    .filter(of -> of.getFirst().getFirst().equals("question")).findFirst()
                    .orElseThrow(() -> new AssertionError(section.getKey() + " has no table of questions"));
            var expected = new ArrayList<List<String>>();
            for (JsonNode question : results(section.getKey()).get("questions")) {
                boolean isKnown = !question.get("points").isNull();
                String interval = isKnown ? signed(question.get("low")) + " to " + signed(question.get("high")) : "";
                expected.add(List.of(question.get("ask").asText(), isKnown ? signed(question.get("points")) : "", interval,
                        question.get("verdict").asText()));
            }
            assertThat(table.subList(2, table.size())).as(section.getKey()).isEqualTo(expected);
        }
    }

    @Test
    void accuracyAndTokensOfEveryArmAreThoseOfItsResults() throws IOException {
        for (var section : sections().entrySet()) {
            var quoted = new HashSet<List<String>>();
            for (List<List<String>> table : tables(section.getValue())) {
                var heading = TABLE.matcher(table.getFirst().getFirst());
                if (!heading.matches()) {
                    continue;
                }
                for (List<String> line : table.subList(2, table.size())) {
                    for (int i = 1; i < line.size(); i++) {
                        if (!line.get(i).isEmpty()) {
                            quoted.add(List.of(heading.group(1), heading.group(2), line.getFirst().replace("`", ""),
                                    table.getFirst().get(i), line.get(i)));
                        }
                    }
                }
            }
            var expected = new HashSet<List<String>>();
            for (JsonNode row : results(section.getKey()).get("rows")) {
                String on = row.get("on").asText();
                String arm = row.get("arm").asText();
                JsonNode samples = row.get("samples");
                String column = samples.isNull() ? "as it is" : samples.asInt() == 0 ? "all" : samples.asText();
                String accuracy = row.get("mean_accuracy").isNull() ? "diverged" : percent(row.get("mean_accuracy"));
                expected.add(List.of("accuracy on", on, arm, column, accuracy));
                expected.add(List.of("tokens,", on, arm, column, thousands(row.get("tokens"))));
            }
            assertThat(quoted).as(section.getKey()).isEqualTo(expected);
        }
    }

    @Test
    void noNumberIsInTheTextThatIsNotInTheResults() throws IOException {
        for (var section : sections().entrySet()) {
            Set<String> known = numbers(results(section.getKey()));
            String text = section.getValue().lines().filter(line -> !line.startsWith("|") && !line.startsWith("    "))
                    .collect(Collectors.joining("\n"));
            assertThat(NUMBER.matcher(text).results().map(MatchResult::group)).as(section.getKey()).allMatch(known::contains);
        }
    }

    private static Set<String> numbers(JsonNode results) {
        var known = new HashSet<String>();
        results.get("rows").forEach(row -> {
            known.add(thousands(row.get("tokens")));
            Stream.of(Stream.of(row.get("mean_accuracy")), stream(row.get("seed_accuracy")), stream(row.get("task_accuracy")))
                    .flatMap(shares -> shares).filter(JsonNode::isNumber).forEach(share -> known.add(percent(share)));
        });
        results.get("questions").forEach(question -> Stream.of("points", "low", "high", "margin").map(question::get)
                .filter(JsonNode::isNumber).forEach(points -> {
                    known.add(signed(points));
                    known.add(signed(points).substring(1));
                }));
        stream(results.get("trials")).map(trial -> trial.get("dev_accuracy")).filter(JsonNode::isNumber)
                .forEach(share -> known.add(percent(share)));
        return known;
    }

    private static Stream<JsonNode> stream(JsonNode of) {
        return StreamSupport.stream(of.spliterator(), false);
    }

    private static String percent(JsonNode share) {
        return String.format(Locale.ROOT, "%.1f", 100 * share.asDouble());
    }

    private static String signed(JsonNode points) {
        return String.format(Locale.ROOT, "%+.1f", points.asDouble());
    }

    private static String thousands(JsonNode number) {
        return String.format(Locale.ROOT, "%,d", number.asLong());
    }
}
