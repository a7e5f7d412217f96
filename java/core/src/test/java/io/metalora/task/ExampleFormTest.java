package io.metalora.task;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.InputException;
import io.metalora.text.ChatTemplate;
import io.metalora.text.Message;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The forms that files of examples have. */
class ExampleFormTest {

    private static final ChatTemplate TEMPLATE = (messages, generation) -> messages.stream().map(ExampleFormTest::written)
            .collect(Collectors.joining()) + (generation ? "[a]" : "");
    private static final ReadOptions CHAT = new ReadOptions(Columns.NONE, () -> TEMPLATE);

    @TempDir
    Path folder;

    private static String written(Message message) {
        return "[" + message.role().charAt(0) + "]" + message.content() + "[/]\n";
    }

    private Path file(String name, String text) throws IOException {
        return Files.writeString(folder.resolve(name), text);
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{'messages': [{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}]}",
        "{'conversations': [{'from': 'system', 'value': 'S'}, {'from': 'human', 'value': 'Q'}, {'from': 'gpt', 'value': 'A'}]}",
        "{'system': 'S', 'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'gpt', 'value': 'A'}]}"})
    void aConversationIsWrittenByTheTemplate(String line) throws IOException {
        Path file = file("chat.jsonl", "\n" + line.replace('\'', '"'));

        assertThat(ExampleFile.read(file, CHAT)).containsExactly(new Example("[s]S[/]\n[u]Q[/]\n[a]", "A", file + ":2",
                new ChatText("[s]S[/]\n[u]Q[/]\n[a]A[/]\n", List.of(new ChatText.Span(19, 23)), "system\nS\n\0user\nQ")));
    }

    @Test
    void theKeysOfTheFirstTurnTellTheForm() throws IOException {
        Path file = file("chat.jsonl", "{\"conversations\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}\n"
                + "{\"conversations\": [{\"role\": \"user\", \"content\": \"R\"}, {\"role\": \"assistant\", \"content\": \"B\"}]}");
        assertThat(ExampleFile.read(file, CHAT)).extracting(Example::completion).containsExactly("A", "B");
        Path other = file("other.jsonl", "{\"messages\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"gpt\", \"value\": \"A\"}]}");
        assertThat(ExampleFile.read(other, CHAT)).extracting(Example::completion).containsExactly("A");
    }

    @ParameterizedTest
    @ValueSource(strings = {"'system': 5", "'system': {'text': 'S'}", "'tools': [{'name': 'search'}]", "'functions': '[]'"})
    void whatATemplateWouldMissBesideAConversationIsRefused(String beside) throws IOException {
        Path file = file("chat.jsonl", ("{" + beside + ", 'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'gpt', 'value': 'A'}]}")
                .replace('\'', '"'));
        String key = beside.substring(1, beside.indexOf('\'', 1));
        assertThatThrownBy(() -> ExampleFile.read(file, CHAT)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":1: ")
                .hasMessageContaining("\"" + key + "\"");
    }

    @Test
    void whatIsAskedDoesNotDependOnTheTemplate() throws IOException {
        Path file = file("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}");
        var dated = new ReadOptions(Columns.NONE, () -> (messages, prompt) -> "today " + CHAT.template().get().render(messages, prompt));
        Example one = ExampleFile.read(file, CHAT).getFirst();
        Example other = ExampleFile.read(file, dated).getFirst();
        assertThat(other.prompt()).isNotEqualTo(one.prompt());
        assertThat(other.chat().asked()).isEqualTo(one.chat().asked());
    }

    @Test
    void everyTurnOfTheAssistantIsTrained() throws IOException {
        Path file = file("chat.jsonl", "{\"conversations\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"gpt\", \"value\": \"one\"}, "
                + "{\"from\": \"human\", \"value\": \"R\"}, {\"from\": \"gpt\", \"value\": \"two\"}]}");
        Example example = ExampleFile.read(file, CHAT).getFirst();

        assertThat(example.chat().turns().stream().map(turn -> example.chat().text().substring(turn.start(), turn.end())))
                .containsExactly("one[/]", "two[/]");
        assertThat(example.prompt()).isEqualTo("[u]Q[/]\n[a]one[/]\n[u]R[/]\n[a]");
        assertThat(example.completion()).isEqualTo("two");
    }

    @Test
    void anInstructionIsWrittenAsAlpacaDoes() throws IOException {
        Path file = file("alpaca.json", """
                [
                  {"instruction": "Translate.", "input": "Haus", "output": "house"},
                  {"instruction": "Count.", "input": "", "output": "1 2 3", "history": []}
                ]
                """);

        assertThat(ExampleFile.read(file)).containsExactly(
                new Example("Below is an instruction that describes a task, paired with an input that provides further context. Write a response "
                        + "that appropriately completes the request.\n\n### Instruction:\nTranslate.\n\n### Input:\nHaus\n\n### Response:\n", "house",
                        file + ":2"),
                new Example("Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
                        + "### Instruction:\nCount.\n\n### Response:\n", "1 2 3", file + ":3"));
    }

    @Test
    void anArrayInOneLineNumbersItsExamples() throws IOException {
        Path file = file("a.json", "\ufeff[{\"prompt\": \"a\", \"completion\": \"b\"}, {\"prompt\": \"c\", \"completion\": \"d\"}]");

        assertThat(ExampleFile.read(file)).extracting(Example::source).containsExactly(file + ":1", file + ":1, example 2");
    }

    @Test
    void aJsonFileMayHoldAnObjectALine() throws IOException {
        Path file = file("a.json", "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \"completion\": \"d\"}\n");

        assertThat(ExampleFile.read(file)).extracting(Example::source).containsExactly(file + ":1", file + ":2");
    }

    @Test
    void tablesNameTheirColumns() throws IOException {
        Path csv = file("a.csv", "\ufeffid,prompt,completion\r\n1,\"a, \"\"b\"\"\nc\", d\r\n\r\n2,e,f\r\n");
        Path tsv = file("a.tsv", "prompt\tcompletion\na, b\t\" c\"\n");

        assertThat(ExampleFile.read(csv)).containsExactly(new Example("a, \"b\"\nc", " d", csv + ":2"), new Example("e", "f", csv + ":5"));
        assertThat(ExampleFile.read(tsv)).containsExactly(new Example("a, b", " c", tsv + ":2"));
    }

    @ParameterizedTest
    @ValueSource(strings = {"a.csv", "a.jsonl", "a.json"})
    void columnsAreMapped(String name) throws IOException {
        var options = new ReadOptions(new Columns("question", "answer", null, null, null, null), () -> TEMPLATE);
        Path file = file(name, name.equals("a.csv") ? "prompt,question,answer\nno,Q,A\n"
                : "{\"prompt\": \"no\", \"completion\": \"no\", \"question\": \"Q\", \"answer\": \"A\"}");

        assertThat(ExampleFile.read(file, options)).extracting(Example::prompt, Example::completion)
                .containsExactly(org.assertj.core.groups.Tuple.tuple("Q", "A"));
        var wrong = new ReadOptions(new Columns("question", "anwser", null, null, null, null), () -> TEMPLATE);
        assertThatThrownBy(() -> ExampleFile.read(file, wrong)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":")
                .hasMessageContaining("there is no \"anwser\", which data.columns names for completion; there are ").hasMessageContaining("question, answer");
    }

    @Test
    void otherFormsAreMappedToo() throws IOException {
        var talk = new ReadOptions(new Columns(null, null, "talk", null, null, null), () -> TEMPLATE);
        Path chat = file("chat.jsonl", "{\"talk\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"gpt\", \"value\": \"A\"}]}");
        Path alpaca = file("alpaca.csv", "task,answer\nAdd.,2\n");

        assertThat(ExampleFile.read(chat, talk)).extracting(Example::completion).containsExactly("A");
        assertThat(ExampleFile.read(alpaca, new ReadOptions(new Columns(null, null, null, "task", null, "answer"), () -> TEMPLATE)))
                .extracting(Example::completion).containsExactly("2");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]} | is a conversation of messages
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}     | is a ShareGPT conversation
            {"instruction": "a", "output": "b"}                                                     | is an Alpaca instruction
            """)
    void mixedFormsAreRefused(String line, String reason) throws IOException {
        Path file = file("mixed.jsonl", "\n{\"prompt\": \"a\", \"completion\": \"b\"}\n" + line);

        assertThatThrownBy(() -> ExampleFile.read(file, CHAT)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":3: ")
                .hasMessageContaining(reason).hasMessageContaining("but line 2 is a prompt and a completion");
        Path other = file("other.jsonl", line + "\n{\"prompt\": \"a\", \"completion\": \"b\"}\n");
        assertThatThrownBy(() -> ExampleFile.read(other, CHAT)).hasMessageStartingWith(other + ":2: is a prompt and a completion, but line 1 is ");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"messages": "hi"}                                                                      | "messages" must be a list of turns
            {"messages": [1]}                                                                       | turn 1 must be an object
            {"messages": [{"role": "user", "content": "a"}]}                                        | has no assistant turn
            {"messages": [{"role": "assistant", "content": "a"}]}                                   | begins with a turn of the assistant
            {"messages": [{"role": "bot", "content": "a"}]}                                         | "role" is "bot", but must be system, user or assistant
            {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}      | turn 2 calls a tool, or is a tool's
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]} | turn 2 calls a tool
            {"messages": [{"role": "user", "content": ["a"]}]}                                      | "content" must be a string, but is ["a"]
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]} | message 2, the assistant's, is empty
            {"messages": [{"role": "user", "content": "a"}, {"from": "gpt", "value": "b"}]}         | turn 2 has other keys than the file's first
            {"conversations": [{"from": "bard", "value": "a"}]}                                     | must be system, human or gpt
            {"instruction": "a"}                                                                    | the key "output" is missing
            {"instruction": "a", "output": ""}                                                      | the output is empty
            {"instruction": "a", "output": "b", "history": [["c", "d"]]}                            | "history" beside an instruction is not supported
            """)
    void badRecordsAreNamed(String line, String reason) throws IOException {
        Path file = file("bad.jsonl", "\n" + line);

        assertThatThrownBy(() -> ExampleFile.read(file, CHAT)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":2: ")
                .hasMessageContaining(reason);
    }

    @Test
    void aConversationNeedsAModel() throws IOException {
        Path file = file("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}");

        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":1: it is a conversation");
    }

    @Test
    void badTablesAreRefused() throws IOException {
        Path few = file("few.csv", "prompt,completion\na,b\nc\n");
        assertThatThrownBy(() -> ExampleFile.read(few)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(few + ":3: has 1 values, but the first row names 2 columns");
        Path twice = file("twice.csv", "prompt,prompt\na,b\n");
        assertThatThrownBy(() -> ExampleFile.read(twice)).isInstanceOf(InputException.class).hasMessageContaining("names \"prompt\" twice");
        Path open = file("open.csv", "prompt,completion\na,\"b\n");
        assertThatThrownBy(() -> ExampleFile.read(open)).isInstanceOf(InputException.class).hasMessageStartingWith(open.toString())
                .hasMessageContaining("malformed table");
        Path latin = folder.resolve("latin.csv");
        Files.write(latin, "prompt,completion\n\u00e4,b\n".getBytes(StandardCharsets.ISO_8859_1));
        assertThatThrownBy(() -> ExampleFile.read(latin)).isInstanceOf(InputException.class).hasMessageStartingWith(latin + ": not UTF-8");
        Path empty = file("empty.csv", "prompt,completion\n");
        assertThatThrownBy(() -> ExampleFile.read(empty)).isInstanceOf(InputException.class).hasMessageContaining("holds no examples");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            [{"prompt": "a", "completion": "b"}           | malformed JSON
            [{"prompt": "a", "completion": "b"}] 1        | more text follows the array
            "text"                                        | must hold an array of examples
            [1]                                           | must be a JSON object
            []                                            | holds no examples
            """)
    void badArraysAreRefused(String text, String reason) throws IOException {
        Path file = file("bad.json", text);

        assertThatThrownBy(() -> ExampleFile.read(file)).isInstanceOf(InputException.class).hasMessageStartingWith(file.toString())
                .hasMessageContaining(reason);
    }

    @Test
    void aTaskMayHoldAnyOfThem() throws IOException {
        Path task = Files.createDirectories(folder.resolve("tasks/t"));
        Files.writeString(task.resolve("train.csv"), "prompt,completion\na,b\n");
        Files.writeString(task.resolve("val.json"), "[{\"prompt\": \"a\", \"completion\": \"b\"}]");
        Files.writeString(task.resolve("test.tsv"), "prompt\tcompletion\na\tb\n");
        Files.writeString(task.resolve("dataset_info.json"), "{}");

        assertThat(TaskFolder.read(folder.resolve("tasks"))).singleElement().satisfies(read -> {
            assertThat(read.train()).hasSize(1);
            assertThat(read.dev()).hasSize(1);
            assertThat(read.test()).hasSize(1);
        });
        Files.writeString(task.resolve("train.jsonl"), "{\"prompt\": \"a\", \"completion\": \"b\"}");
        assertThatThrownBy(() -> TaskFolder.read(folder.resolve("tasks"))).isInstanceOf(InputException.class)
                .hasMessageContaining("is a second split for training beside train.csv");
    }
}
