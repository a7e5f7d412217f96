package io.metalora.launcher.synthetic;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RelabelWriterTest {

    private static final List<String> LANGUAGES = List.of("deu", "eng", "fra", "spa");
    private static final List<String> TOPICS = List.of("travel", "science/technology", "health");

    @TempDir
    Path folder;

    private Path sources;

    /** Texts with all that JSON has to escape, which say their language, split and topic. */
    @BeforeEach
    void writeSources() throws IOException {
        sources = folder.resolve("sources");
        for (String language : LANGUAGES) {
            Path task = Files.createDirectories(sources.resolve(language));
            for (var split : Map.of("train", 240, "dev", 60, "test", 120).entrySet()) {
                var lines = new StringBuilder();
                for (int i = 0; i < split.getValue(); i++) {
                    String topic = TOPICS.get(i % TOPICS.size());
                    lines.append("{\"prompt\": \"\\\"%s\\\"\\t\\\\%s %s %d\\nTopic:\", \"completion\": \" %s\"}\n"
                            .formatted(language, split.getKey(), topic, i, topic));
                }
                Files.writeString(task.resolve(split.getKey() + ".jsonl"), lines);
            }
        }
    }

    private List<Task> customers(String name, long seed) {
        Path made = folder.resolve(name);
        RelabelWriter.write(sources, made, "customer", 12, 2, seed);
        return TaskFolder.read(made);
    }

    private static List<Example> all(Task task) {
        return Stream.of(task.train(), task.dev(), task.test()).flatMap(List::stream).toList();
    }

    private static String topic(Example example) {
        return TOPICS.stream().filter(example.prompt()::contains).findFirst().orElseThrow();
    }

    private static Map<String, String> convention(Task task) {
        return all(task).stream().collect(Collectors.toMap(RelabelWriterTest::topic, Example::completion, (one, other) -> {
            assertThat(other).isEqualTo(one);
            return one;
        }));
    }

    @Test
    void everyCustomerCallsEachLabelByOneWordOfItsOwn() {
        List<Task> customers = customers("made", 0);
        assertThat(customers).extracting(Task::name).hasSize(12).startsWith("customer-01").endsWith("customer-12");
        var conventions = new HashSet<Map<String, String>>();
        var topicsOfWords = new HashMap<String, Set<String>>();
        for (Task customer : customers) {
            Map<String, String> convention = convention(customer);
            assertThat(convention.keySet()).containsExactlyInAnyOrderElementsOf(TOPICS);
            assertThat(convention.values()).doesNotHaveDuplicates().allMatch(word -> word.matches(" [a-z]+"));
            conventions.add(convention);
            convention.forEach((topic, word) -> topicsOfWords.computeIfAbsent(word, w -> new TreeSet<>()).add(topic));
        }
        assertThat(conventions).hasSize(12);
        // A word's meaning is its customer's: some word has had every one.
        assertThat(topicsOfWords.values()).anyMatch(topics -> topics.size() == TOPICS.size());
    }

    @Test
    void aCustomersTextsAreThoseOfItsTasksAndStayInTheirSplit() {
        var languages = new HashSet<Set<String>>();
        Set<String> sourcePrompts = TaskFolder.read(sources).stream().flatMap(task -> all(task).stream()).map(Example::prompt)
                .collect(Collectors.toSet());
        for (Task customer : customers("made", 0)) {
            assertThat(customer.train()).hasSize(300).allMatch(example -> example.prompt().contains("train"));
            assertThat(customer.dev()).hasSize(SyntheticTasks.DEV).allMatch(example -> example.prompt().contains("dev"));
            assertThat(customer.test()).hasSize(SyntheticTasks.TEST).allMatch(example -> example.prompt().contains("test"));
            assertThat(all(customer)).extracting(Example::prompt).doesNotHaveDuplicates().isSubsetOf(sourcePrompts);
            languages.add(all(customer).stream().map(example -> example.prompt().substring(1, 4)).collect(Collectors.toSet()));
        }
        assertThat(languages).allMatch(of -> of.size() == 2).hasSizeGreaterThan(2);
    }

    @Test
    void aCustomerIsWhatItsNameAndTheSeedSay() {
        List<Task> customers = customers("made", 0);
        assertThat(texts(customers("again", 0))).isEqualTo(texts(customers));
        assertThat(texts(customers("other", 1))).isNotEqualTo(texts(customers));
        RelabelWriter.write(sources, folder.resolve("fewer"), "customer", 3, 2, 0);
        assertThat(texts(TaskFolder.read(folder.resolve("fewer")))).isEqualTo(texts(customers.subList(0, 3)));
        RelabelWriter.write(sources, folder.resolve("new"), "new", 3, 2, 0);
        assertThat(TaskFolder.read(folder.resolve("new")).stream().map(RelabelWriterTest::convention))
                .doesNotContainAnyElementsOf(customers.stream().map(RelabelWriterTest::convention).toList());
    }

    private static List<List<String>> texts(List<Task> tasks) {
        return tasks.stream().map(task -> all(task).stream().map(example -> example.prompt() + example.completion()).toList())
                .toList();
    }

    @Test
    void whatCantBeRelabelledIsRefusedAndNothingWritten() throws IOException {
        Path made = folder.resolve("made");
        assertThatThrownBy(() -> RelabelWriter.write(sources, made, "customer", 1, 5, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("5 tasks, but there are 4");
        Files.writeString(sources.resolve("deu").resolve("dev.jsonl"), "");
        assertThatThrownBy(() -> RelabelWriter.write(sources, made, "customer", 1, 2, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("deu");
        var open = new StringBuilder();
        for (int i = 0; i < 20; i++) {
            open.append("{\"prompt\": \"p").append(i).append("\", \"completion\": \" answer ").append(i).append("\"}\n");
        }
        Files.writeString(sources.resolve("deu").resolve("dev.jsonl"), open);
        assertThatThrownBy(() -> RelabelWriter.write(sources, made, "customer", 1, 2, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("23 different completions");
        assertThat(made).doesNotExist();
        Files.createDirectory(made);
        writeSources();
        assertThatThrownBy(() -> RelabelWriter.write(sources, made, "customer", 1, 2, 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("already exists");
        assertThat(made).isEmptyDirectory();
    }
}
