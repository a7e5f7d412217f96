package io.metalora.launcher.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.runtime.InputException;
import io.metalora.task.Columns;
import io.metalora.task.EncodedExample;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.ExampleFile;
import io.metalora.task.ReadOptions;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What of a conversation is trained on. */
class ChatMaskTest {

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    private static final String TALK = "{\"messages\": [{\"role\": \"user\", \"content\": \"Is it?\"}, "
            + "{\"role\": \"assistant\", \"content\": \"It is.\"}]}\n";

    @TempDir
    Path folder;

    /** mask_goldens.json was written by transformers: see make_mask_goldens.py. */
    @ParameterizedTest
    @ValueSource(strings = {"bytes", "metaspace"})
    void idsAndMasksAreThoseOfTransformers(String kind) throws IOException {
        JsonNode goldens = JSON.readTree(ChatMaskTest.class.getResourceAsStream("mask_goldens.json"));
        int checked = 0;
        try (TextTokenizer tokenizer = tokenizer(kind)) {
            for (JsonNode golden : goldens.get("cases")) {
                if (golden.get("tokenizer").textValue().equals(kind)) {
                    String family = golden.get("family").textValue();
                    Path file = Files.writeString(folder.resolve("train.jsonl"), JSON.writeValueAsString(Map.of("messages", golden.get("messages"))));
                    Path model = template(family, goldens.get("templates").get(family).textValue());
                    Example example = ExampleFile.read(file, ReadOptions.of(model, Columns.NONE, golden.get("thinking").booleanValue())).getFirst();
                    EncodedExample encoded = encoder(tokenizer).encode(example);

                    String called = family + golden.get("messages");
                    assertThat(encoded.ids()).as(called).containsExactly(
                            StreamSupport.stream(golden.get("ids").spliterator(), false).mapToInt(JsonNode::intValue).toArray());
                    assertThat(mask(encoded)).as(called).isEqualTo(golden.get("mask").textValue());
                    assertThat(encoded.lossTokens()).isEqualTo((int) mask(encoded).chars().filter(c -> c == '1').count());
                    checked++;
                }
            }
        }
        assertThat(checked).isGreaterThan(35);
    }

    @Test
    void isScoredOnTheLastTurnAfterWhatPromptsIt() throws IOException {
        Path model = template("chatml", CHATML);
        Path file = Files.writeString(folder.resolve("chat.jsonl"), TALK.replace("]}", ", {\"role\": \"user\", \"content\": \"end\"}, "
                + "{\"role\": \"assistant\", \"content\": \"end\"}]}"));
        Example example = ExampleFile.read(file, ReadOptions.of(model)).getFirst();

        assertThat(example.prompt()).isEqualTo("<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n"
                + "<|im_start|>user\nend<|im_end|>\n<|im_start|>assistant\n");
        assertThat(example.completion()).isEqualTo("end");
        try (TextTokenizer tokenizer = tokenizer("bytes")) {
            EncodedExample scored = ExampleEncoder.forScoring(ExampleEncoder.Tokenizer.of(tokenizer), 1000, 1000).encode(example);
            assertThat(scored.prompt()).isEqualTo(tokenizer.encode(example.prompt(), false));
            assertThat(tokenizer.decode(scored.ids(), false)).isEqualTo(example.prompt() + "end");
        }
    }

    @Test
    void aTemplateWithoutMarksOfItsOwnTrainsTheWhiteSpaceThatEndsATurn() throws IOException {
        Path model = template("plain", "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
                + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}");
        Example example = ExampleFile.read(Files.writeString(folder.resolve("chat.jsonl"), TALK), ReadOptions.of(model)).getFirst();

        assertThat(example.completion()).isEqualTo(" It is.");
        assertThat(example.chat().turns().stream().map(turn -> example.chat().text().substring(turn.start(), turn.end())))
                .containsExactly(" It is.\n");
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ m.role + m.content[:3] }}{% endfor %}"})
    void refusesATemplateThatDropsTheAnswer(String template) throws IOException {
        Path model = template("dropping", template);
        Path file = Files.writeString(folder.resolve("chat.jsonl"), "\n" + TALK);

        assertThatThrownBy(() -> ExampleFile.read(file, ReadOptions.of(model))).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ":2: ").hasMessageContaining("leaves out or changes the text of message 2");
    }

    @Test
    void refusesAModelWithoutATemplate() throws IOException {
        Path model = Files.createDirectory(folder.resolve("base"));
        Files.writeString(model.resolve("config.json"), "{}");
        Path file = Files.writeString(folder.resolve("chat.jsonl"), TALK);

        assertThatThrownBy(() -> ExampleFile.read(file, ReadOptions.of(model))).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file + ":1: ").hasMessageContaining("base has no chat template");
    }

    /** A tokenizer that drops all of an answer, as one that knows none of its characters. */
    @Test
    void refusesAnEmptyMask() throws IOException {
        Path model = template("chatml", CHATML.replace("<|im_end|>", ""));
        Path file = Files.writeString(folder.resolve("chat.jsonl"), TALK.replace("It is.", "\u4e2d"));
        Example example = ExampleFile.read(file, ReadOptions.of(model)).getFirst();
        try (TextTokenizer tokenizer = tokenizer("letters")) {
            assertThatThrownBy(() -> encoder(tokenizer).encode(example)).isInstanceOf(InputException.class).hasMessageStartingWith(file + ":1: ")
                    .hasMessageContaining("no token of the assistant's turns can be trained on");
        }
    }

    private static ExampleEncoder encoder(TextTokenizer tokenizer) {
        return ExampleEncoder.forTraining(ExampleEncoder.Tokenizer.of(tokenizer), 1000, 1000, 1);
    }

    private static String mask(EncodedExample example) {
        return IntStream.range(0, example.length()).mapToObj(i -> example.isTrained(i) ? "1" : "0").collect(Collectors.joining());
    }

    private TextTokenizer tokenizer(String kind) throws IOException {
        Path model = Files.createDirectories(folder.resolve("tokenizer-" + kind));
        if (kind.equals("letters")) {
            Files.writeString(model.resolve("tokenizer.json"), JSON.writeValueAsString(Map.of("version", "1.0", "model",
                    Map.of("type", "BPE", "vocab", Map.of("a", 0, "s", 1, "r", 2), "merges", List.of()))));
        } else {
            try (var in = ChatMaskTest.class.getResourceAsStream("mask_tokenizer_" + kind + ".json")) {
                Files.write(model.resolve("tokenizer.json"), in.readAllBytes());
            }
        }
        return TextTokenizer.load(model);
    }

    private Path template(String name, String template) throws IOException {
        Path model = Files.createDirectories(folder.resolve("model-" + name));
        Files.writeString(model.resolve("config.json"), "{}");
        Files.writeString(model.resolve("tokenizer_config.json"), JSON.writeValueAsString(Map.of("chat_template", template, "bos_token", "<s>",
                "eos_token", "</s>")));
        return model;
    }
}
