package io.metalora.launcher.synthetic;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertAll;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

class SyntheticTasksTest {

    private static final List<SyntheticTask> MULTI_TASK = SyntheticTasks.multiTask(1).tasks();
    private static final List<SyntheticTask> MULTILINGUAL = SyntheticTasks.multilingual(1).tasks();

    private static final List<SyntheticTask> CUSTOMERS = SyntheticTasks.customers(1).tasks();
    private static final List<SyntheticTask> TUNING_CUSTOMERS = SyntheticTasks.tuningCustomers(1).tasks();
    private static final List<SyntheticTask> NEW_CUSTOMERS = SyntheticTasks.newCustomers(1).tasks();

    private static List<SyntheticTask> all() {
        return Stream.of(MULTI_TASK, MULTILINGUAL, CUSTOMERS, TUNING_CUSTOMERS, NEW_CUSTOMERS).flatMap(List::stream).toList();
    }

    private static List<Sample> samples(SyntheticTask task) {
        return Stream.of(task.train(), task.dev(), task.test()).flatMap(List::stream).toList();
    }

    @Test
    void settingsHaveTheTasksAndSizesTheyPromise() {
        assertThat(MULTI_TASK).hasSizeGreaterThanOrEqualTo(8);
        assertThat(MULTILINGUAL).extracting(SyntheticTask::name)
                .containsExactly("wish-eng", "wish-deu", "wish-spa", "wish-nld");
        assertThat(all()).extracting(SyntheticTask::name).doesNotHaveDuplicates();
        assertThat(all()).allSatisfy(task -> {
            assertThat(task.train()).hasSize(SyntheticTasks.TRAIN);
            assertThat(task.dev()).hasSize(SyntheticTasks.DEV);
            assertThat(task.test()).hasSize(SyntheticTasks.TEST);
        });
    }

    @Test
    void customersHaveTheSameGoodsAndEachAConventionOfItsOwn() {
        assertThat(CUSTOMERS).hasSize(24);
        assertThat(TUNING_CUSTOMERS).hasSize(4);
        assertThat(NEW_CUSTOMERS).hasSize(4);
        var conventions = new HashSet<Map<String, String>>();
        for (var task : Stream.of(CUSTOMERS, TUNING_CUSTOMERS, NEW_CUSTOMERS).flatMap(List::stream).toList()) {
            var bins = new HashMap<String, String>();
            for (Sample sample : samples(task)) {
                String known = bins.putIfAbsent(kind(sample), sample.completion());
                assertThat(known).as(sample.prompt()).isIn(null, sample.completion());
            }
            assertThat(bins).hasSize(6);
            assertThat(bins.values()).containsOnly(" red", " blue", " green", " white");
            conventions.add(bins);
        }
        assertThat(conventions).as("all different").hasSize(32);
    }

    @Test
    void aCustomersTestAsksForGoodsThatNoTrainingNames() {
        var trained = new HashSet<String>();
        var tuned = new HashSet<String>();
        for (long seed = 1; seed < 4; seed++) {
            for (var tasks : List.of(SyntheticTasks.customers(seed), SyntheticTasks.tuningCustomers(seed), SyntheticTasks.newCustomers(seed))) {
                tasks.tasks().forEach(task -> task.train().forEach(sample -> trained.add(thing(sample))));
                tasks.tasks().forEach(task -> task.dev().forEach(sample -> tuned.add(thing(sample))));
            }
        }
        assertThat(trained).hasSize(48);
        assertThat(tuned).hasSize(6).doesNotContainAnyElementsOf(trained);
        for (var task : NEW_CUSTOMERS) {
            assertThat(task.test()).extracting(SyntheticTasksTest::thing).doesNotContainAnyElementsOf(trained).doesNotContainAnyElementsOf(tuned);
        }
    }

    @Test
    void aShopsDevAndTestAskForThreeGoodsOfEachKindThatNoTrainingNames() {
        var trained = new HashSet<String>();
        var tuned = new HashSet<String>();
        var tested = new HashSet<String>();
        var names = new HashSet<String>();
        for (var tasks : List.of(SyntheticTasks.shops(1), SyntheticTasks.tuningShops(1), SyntheticTasks.newShops(1))) {
            for (var task : tasks.tasks()) {
                names.add(task.name());
                task.train().forEach(sample -> trained.add(thing(sample)));
                task.dev().forEach(sample -> tuned.add(thing(sample)));
                task.test().forEach(sample -> tested.add(thing(sample)));
            }
        }
        assertThat(names).hasSize(48 + 6 + 12);
        assertThat(trained).hasSize(6 * 6).doesNotContainAnyElementsOf(tuned).doesNotContainAnyElementsOf(tested);
        assertThat(tuned).hasSize(6 * 3).doesNotContainAnyElementsOf(tested);
        assertThat(tested).hasSize(6 * 3);
    }

    private static String thing(Sample sample) {
        return Lexicon.KINDS.stream().flatMap(kind -> Lexicon.builtIn().group(Language.ENGLISH, kind).stream())
                .filter(word -> List.of(sample.prompt().split("\\W+")).contains(word)).findFirst().orElseThrow();
    }

    private static String kind(Sample sample) {
        return Lexicon.builtIn().kindOf(Language.ENGLISH, thing(sample));
    }

    @Test
    void theSameSeedGivesTheSameTasks() {
        assertThat(SyntheticTasks.multiTask(1).tasks()).isEqualTo(MULTI_TASK);
        assertThat(SyntheticTasks.multilingual(1).tasks()).isEqualTo(MULTILINGUAL);
    }

    @Test
    void anotherSeedGivesOtherTrainingSamplesAndTheSameTestSamples() {
        var others = SyntheticTasks.multiTask(2).tasks();
        for (int i = 0; i < MULTI_TASK.size(); i++) {
            assertThat(others.get(i).test()).isEqualTo(MULTI_TASK.get(i).test());
            assertThat(others.get(i).dev()).isNotEqualTo(MULTI_TASK.get(i).dev());
            assertThat(others.get(i).train()).isNotEqualTo(MULTI_TASK.get(i).train());
        }
    }

    /** The text of a seed must not drift with the JDK or with an edit of an unrelated family. */
    @Test
    void frozenSamplesOfOneSeed() {
        assertThat(MULTI_TASK.getFirst().test()).first().isEqualTo(new Sample("Photo of a scene with hammer and table. Scene:", " still"));
    }

    @Test
    void noPromptOccursTwiceInATaskAndNoTestPromptIsTrainedOnWithAnySeed() {
        assertThat(all()).allSatisfy(task ->
                assertThat(samples(task)).extracting(Sample::prompt).doesNotHaveDuplicates());
        for (long seed = 2; seed < 6; seed++) {
            var others = SyntheticTasks.multiTask(seed).tasks();
            for (int i = 0; i < others.size(); i++) {
                var trained = prompts(others.get(i).train());
                assertThat(prompts(MULTI_TASK.get(i).test()).stream().filter(trained::contains)).isEmpty();
                assertThat(prompts(MULTI_TASK.get(i).dev()).stream().filter(trained::contains)).isEmpty();
            }
        }
    }

    private static Set<String> prompts(List<Sample> samples) {
        var prompts = new HashSet<String>();
        samples.forEach(sample -> prompts.add(sample.prompt()));
        return prompts;
    }

    @Test
    void noAnswerHasAMajorityAndClosedSetsAreBalanced() {
        assertThat(all()).allSatisfy(task -> {
            for (var split : List.of(task.train(), task.dev(), task.test())) {
                Map<String, Integer> counts = new HashMap<>();
                split.forEach(sample -> counts.merge(sample.completion(), 1, Integer::sum));
                assertThat(counts.values()).allSatisfy(count -> assertThat(count).isLessThanOrEqualTo(split.size() * 6 / 10));
                if (!task.labels().isEmpty()) {
                    assertThat(counts.keySet()).containsExactlyInAnyOrderElementsOf(task.labels());
                    assertThat(counts.values()).allSatisfy(
                            count -> assertThat(count).isLessThanOrEqualTo(Math.ceilDiv(split.size(), task.labels().size())));
                }
            }
        });
    }

    @Test
    void completionsStartWithASpaceAndPromptsDoNotEndWithOne() {
        assertThat(all()).flatExtracting(SyntheticTasksTest::samples).allSatisfy(sample -> {
            assertThat(sample.completion()).matches(" \\S.*\\S| \\S");
            assertThat(sample.prompt()).isEqualTo(sample.prompt().strip()).doesNotContain("%", "\"", "\\", "\n");
        });
    }

    @Test
    void theBaseSeesNoHeldOutPrompt(@TempDir Path directory) throws IOException {
        Path corpus = directory.resolve("corpus.jsonl");
        CorpusWriter.writeCorpus(corpus, PretrainingFamilies.all(), 50_000, 1);
        var trained = new HashSet<String>();
        for (String line : Files.readAllLines(corpus)) {
            trained.add(line.substring(line.indexOf(": \"") + 3, line.indexOf("\", \"completion\"")));
        }
        assertThat(trained).hasSizeGreaterThan(10_000);
        var heldOut = all().stream().flatMap(task -> samples(task).stream()).map(Sample::prompt).toList();
        assertThat(heldOut.stream().filter(trained::contains)).isEmpty();
        // The way of asking is new too: no pretraining prompt ends like a held-out one.
        var endings = new HashSet<String>();
        trained.forEach(prompt -> endings.add(lastTwoWords(prompt)));
        assertThat(heldOut.stream().map(SyntheticTasksTest::lastTwoWords).filter(endings::contains)).isEmpty();
    }

    private static String lastTwoWords(String prompt) {
        String[] words = prompt.split(" ");
        return words[Math.max(0, words.length - 2)] + " " + words[words.length - 1];
    }

    @Test
    void writesOneFolderATaskWithOneLineASample(@TempDir Path directory) throws IOException {
        SyntheticTasks.multilingual(1).writeTo(directory);
        for (SyntheticTask task : MULTILINGUAL) {
            var lines = Files.readAllLines(directory.resolve(task.name()).resolve("test.jsonl"));
            assertThat(lines).hasSize(task.test().size());
            assertThat(lines.getFirst()).isEqualTo("{\"prompt\": \"" + task.test().getFirst().prompt()
                    + "\", \"completion\": \"" + task.test().getFirst().completion() + "\"}");
            assertThat(directory.resolve(task.name()).resolve("train.jsonl")).exists();
            assertThat(directory.resolve(task.name()).resolve("dev.jsonl")).exists();
        }
    }

    /** The answer of every sample, derived again from the text of its prompt. */
    @TestFactory
    Stream<DynamicTest> answersFollowFromThePrompts() {
        Map<String, Function<Matcher, String>> rules = new LinkedHashMap<>();
        rules.put("verdict: .* but the \\w+ was (\\w+)\\. Visit:",
                m -> words("positive").contains(m.group(1)) ? "again" : "never");
        rules.put("phrasebook: \\w+ here! The guest from the \\w+ ordered (\\S+)\\. Send the", m -> LEXICON.stream()
                .filter(row -> row.subList(2, 5).contains(m.group(1)) && KINDS.contains(row.getFirst()))
                .map(row -> row.get(1)).findFirst().orElseThrow());
        rules.put("carousel: Carousel: (\\w+), (\\w+), (\\w+)\\. One turn:",
                m -> String.join(", ", m.group(3), m.group(1), m.group(2)));
        rules.put("ticket: \\w+ is (\\d+) years old and takes the \\w+\\. Ticket:", m -> {
            int age = Integer.parseInt(m.group(1));
            return age < 18 ? "child" : age < 65 ? "adult" : "senior";
        });
        rules.put("delivery: \\w+ ordered the \\w+ on (\\w+), delivery in (\\w+) days\\. Arrives:", m -> {
            var week = java.time.DayOfWeek.valueOf(m.group(1).toUpperCase(java.util.Locale.ROOT))
                    .plus(List.of("zero", "one", "two", "three", "four").indexOf(m.group(2)));
            if (week == java.time.DayOfWeek.SUNDAY) {
                week = week.plus(1);
            }
            return week.getDisplayName(java.time.format.TextStyle.FULL, java.util.Locale.ENGLISH);
        });
        rules.put("library: .*\\w+ returned the (\\w+)[.,].* Here is the", m -> m.group(1));
        rules.put("weekend: \\w+ has the van on (\\w+)\\. It takes the (\\w+) to the", m ->
                m.group(1).startsWith("S") ? "house" : PLACES.entrySet().stream()
                        .filter(e -> words(e.getKey()).contains(m.group(2))).findFirst().orElseThrow().getValue());
        rules.put("motion: Photo of a scene with (\\w+) and (\\w+)\\. Scene:", m -> {
            long moving = Stream.of(m.group(1), m.group(2))
                    .filter(thing -> words("animal").contains(thing) || words("vehicle").contains(thing)).count();
            return moving == 0 ? "still" : moving == 1 ? "mixed" : "moving";
        });
        rules.put("stamp: Letter from \\w+: the (\\w+) and the \\w+ were (\\w+)\\. Stamp:", m -> {
            boolean praise = words("positive").contains(m.group(2));
            return words("sport").contains(m.group(1)) ? praise ? "cheers" : "boos" : praise ? "encore" : "refund";
        });
        rules.put("majority: The van brings (\\w+), (\\w+) and (\\w+)\\. Stop at the", m -> {
            return PLACES.entrySet().stream()
                    .filter(e -> Stream.of(m.group(1), m.group(2), m.group(3)).filter(words(e.getKey())::contains).count() == 2)
                    .findFirst().orElseThrow().getValue();
        });
        return Stream.concat(
                rules.entrySet().stream().map(rule -> {
                    String[] named = rule.getKey().split(": ", 2);
                    var task = MULTI_TASK.stream().filter(t -> t.name().equals(named[0])).findFirst().orElseThrow();
                    return DynamicTest.dynamicTest(task.name(), () -> derive(task, named[1], rule.getValue()));
                }),
                Stream.of(DynamicTest.dynamicTest("every multi-task rule is derived", () ->
                        assertThat(rules.keySet()).extracting(key -> key.split(":")[0])
                                .containsExactlyInAnyOrderElementsOf(MULTI_TASK.stream().map(SyntheticTask::name).toList()))));
    }

    private static void derive(SyntheticTask task, String pattern, Function<Matcher, String> rule) {
        var compiled = Pattern.compile(pattern);
        assertAll(samples(task).stream().map(sample -> () -> {
            var matcher = compiled.matcher(sample.prompt());
            assertThat(matcher.matches()).as(sample.prompt()).isTrue();
            assertThat(sample.completion()).as(sample.prompt()).isEqualTo(" " + rule.apply(matcher));
        }));
    }

    @Test
    void aWishMeansTheSameInEveryLanguage() {
        var wanted = Pattern.compile("(?:send the|sondern|stuur) (\\S+?)(?: schicken)?[.,]|enviar (\\S+?)[.,]|: (\\S+) schicken,");
        List<List<String>> rows = lexicon();
        for (int language = 0; language < MULTILINGUAL.size(); language++) {
            int column = 1 + language;
            assertThat(samples(MULTILINGUAL.get(language))).allSatisfy(sample -> {
                var matcher = wanted.matcher(sample.prompt());
                assertThat(matcher.find()).as(sample.prompt()).isTrue();
                String thing = Stream.of(1, 2, 3).map(matcher::group).filter(g -> g != null).findFirst().orElseThrow();
                String kind = rows.stream()
                        .filter(row -> row.get(column).equals(thing) && KINDS.contains(row.getFirst()))
                        .findFirst().orElseThrow().getFirst();
                var places = rows.stream().filter(row -> row.getFirst().equals("place")).toList();
                assertThat(sample.completion()).as(sample.prompt())
                        .isEqualTo(" " + places.get(KINDS.indexOf(kind)).get(column));
            });
        }
    }

    /** English words of a group, read from the lexicon without the generator's reader. */
    private static List<String> words(String group) {
        return lexicon().stream().filter(row -> row.getFirst().equals(group)).map(row -> row.get(1)).toList();
    }

    private static final List<String> KINDS = List.of("animal", "fruit", "tool", "garment", "vehicle", "furniture");

    private static final Map<String, String> PLACES = Map.of("animal", "farm", "fruit", "garden", "tool", "workshop",
            "garment", "wardrobe", "vehicle", "garage", "furniture", "house");

    private static final List<List<String>> LEXICON = readLexicon();

    private static List<List<String>> lexicon() {
        return LEXICON;
    }

    private static List<List<String>> readLexicon() {
        try (var in = SyntheticTasksTest.class.getResourceAsStream("lexicon.tsv")) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines()
                    .filter(line -> !line.startsWith("#")).map(line -> List.of(line.split("\t"))).toList();
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Test
    void aWordOfAKindIsOfNoOtherKindInItsLanguage() {
        for (int column = 1; column <= 4; column++) {
            int language = column;
            assertThat(LEXICON.stream().filter(row -> KINDS.contains(row.getFirst())).map(row -> row.get(language)).toList())
                    .doesNotHaveDuplicates();
        }
    }
}
