package io.metalora.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.model.AdapterSlots;
import io.metalora.model.GenerationOptions;
import io.metalora.model.Generator;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.text.Message;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextGeneratorTest {
    private static final GenerationOptions TWENTY = GenerationOptions.greedy(20);

    private static LoadedModel loaded;
    private static TextGenerator generator;

    @BeforeAll
    static void open() {
        loaded = LoadedModel.open(fixture("model"), List.of(fixture("adapter")), DeviceOptions.cpu());
        generator = new TextGenerator(loaded);
    }

    @AfterAll
    static void close() {
        loaded.close();
    }

    static Path fixture(String name) {
        try {
            return Path.of(TextGeneratorTest.class.getResource("/fixture/" + name).toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void requestsOfOneCallAreAnsweredAsEachWouldBeAlone() {
        var options = List.of(GenerationOptions.greedy(3), TWENTY, new GenerationOptions(15, 1.2f, 0.9f, 7, List.of()));
        var requests = new ArrayList<TextRequest>();
        for (var prompt : List.of("the team won", "the river", "are you")) {
            for (int slot : new int[] {0, AdapterSlots.BASE}) {
                requests.add(TextRequest.of(prompt, options.get(requests.size() % 3)).withSlot(slot));
            }
        }
        var together = generator.generate(requests);
        for (int i = 0; i < requests.size(); i++) {
            assertThat(together.get(i)).as("request " + i).isEqualTo(generator.generate(requests.get(i)));
            assertThat(together.get(i)).as("request " + i).isEqualTo(plain(requests.get(i)));
        }
        assertThat(together.get(0).text()).isNotEqualTo(together.get(1).text());
        assertThat(generator.generate(List.of())).isEmpty();
    }

    /** Tokens one by one, and their text in the end. */
    private static Completion plain(TextRequest request) {
        int[] ids = loaded.tokenizer().encode(((TextRequest.Prompt) request.input()).text(), true);
        try (var tokens = new Generator(loaded.model(), request.slot() == AdapterSlots.BASE ? null : loaded.slots(), 90)) {
            int[] next = tokens.generate(ids, request.options());
            int[] all = Arrays.copyOf(ids, ids.length + next.length);
            System.arraycopy(next, 0, all, ids.length, next.length);
            String text = loaded.tokenizer().decode(all, true).substring(loaded.tokenizer().decode(ids, true).length());
            return new Completion(text, FinishReason.LENGTH, ids.length, next.length);
        }
    }

    @Test
    void aListenerHearsTheTextInPieces() {
        var requests = List.of(TextRequest.of("the team won", TWENTY).withSlot(0), TextRequest.of("are you", GenerationOptions.greedy(30)));
        var heard = List.of(new ArrayList<String>(), new ArrayList<String>());
        var completions = generator.generate(requests, (request, piece) -> heard.get(request).add(piece));
        for (int i = 0; i < 2; i++) {
            assertThat(heard.get(i)).hasSizeGreaterThan(5).doesNotContain("");
            assertThat(String.join("", heard.get(i))).isEqualTo(completions.get(i).text());
        }
        var one = new StringBuilder();
        assertThat(generator.generate(requests.getFirst(), one::append)).isEqualTo(completions.getFirst());
        assertThat(one.toString()).isEqualTo(completions.getFirst().text());
    }

    /** Characters of several tokens come whole. */
    @Test
    void bytesOfAnUnfinishedCharacterWaitForTheRest() {
        int[] prompt = loaded.tokenizer().encode("the", true);
        int[] tokens = loaded.tokenizer().encode("é and 🐱!", false);
        var pieces = new ArrayList<String>();
        var stream = new TextStream(loaded.tokenizer(), prompt, List.of(), pieces::add);
        Arrays.stream(tokens).forEach(stream::accept);
        String text = stream.finish();
        assertThat(String.join("", pieces)).isEqualTo(text).endsWith("é and 🐱!");
        assertThat(pieces).noneMatch(piece -> piece.contains("\uFFFD"));
        assertThat(pieces.size()).isLessThan(tokens.length);

        // One that never becomes whole is shown in the end.
        int cat = IntStream.range(0, tokens.length).filter(i -> loaded.tokenizer().decode(Arrays.copyOf(tokens, i + 1), true).endsWith("\uFFFD"))
                .findFirst().orElseThrow();
        pieces.clear();
        var cut = new TextStream(loaded.tokenizer(), prompt, List.of(), pieces::add);
        Arrays.stream(tokens, 0, cat + 1).forEach(cut::accept);
        assertThat(String.join("", pieces)).doesNotContain("\uFFFD");
        assertThat(cut.finish()).endsWith("\uFFFD").isEqualTo(String.join("", pieces));
    }

    @Test
    void aStopStringEndsTheTextBeforeIt() {
        var request = TextRequest.of("the team won", GenerationOptions.greedy(40)).withSlot(0);
        String all = generator.generate(request).text();
        String stop = all.substring(all.length() / 2, all.length() / 2 + 4);
        var pieces = new StringBuilder();
        var stopped = generator.generate(request.withStops(List.of("does not come", stop)), pieces::append);
        assertThat(stopped.text()).isEqualTo(all.substring(0, all.indexOf(stop))).isEqualTo(pieces.toString());
        assertThat(stopped.finishReason()).isEqualTo(FinishReason.STOP);
        assertThat(stopped.completionTokens()).isBetween(2, 39);
        assertThat(generator.generate(request.withStops(List.of(stop)))).isEqualTo(stopped);

        // One that begins and does not come after all leaves nothing out.
        String begun = all.substring(all.length() - 3) + "and no more of this";
        pieces.setLength(0);
        var whole = generator.generate(request.withStops(List.of(begun)), pieces::append);
        assertThat(whole.text()).isEqualTo(all).isEqualTo(pieces.toString());
        assertThat(whole.finishReason()).isEqualTo(FinishReason.LENGTH);
        assertThatThrownBy(() -> request.withStops(List.of(""))).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theEndOfTheContextEndsTheText() {
        var completion = generator.generate(TextRequest.of("the team won", GenerationOptions.greedy(Integer.MAX_VALUE)));
        assertThat(completion.finishReason()).isEqualTo(FinishReason.LENGTH);
        assertThat(completion.promptTokens() + completion.completionTokens()).isEqualTo(loaded.model().config().maxPositions());
    }

    @Test
    void aStopTokenAndTheModelsOwnEndAreNoText(@TempDir Path folder) throws IOException {
        int[] ids = loaded.tokenizer().encode("the team won", true);
        int[] tokens;
        try (var plain = new Generator(loaded.model(), null, 60)) {
            tokens = plain.generate(ids, TWENTY);
        }
        int stop = tokens[9];
        int first = IntStream.range(0, tokens.length).filter(i -> tokens[i] == stop).findFirst().orElseThrow();
        String text = generator.generate(TextRequest.of("the team won", GenerationOptions.greedy(first))).text();
        var expected = new Completion(text, FinishReason.STOP, ids.length, first);
        assertThat(generator.generate(TextRequest.of("the team won", GenerationOptions.greedy(20, stop)))).isEqualTo(expected);

        for (var file : List.of("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")) {
            Files.copy(fixture("model").resolve(file), folder.resolve(file));
        }
        Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": [2, " + stop + "]}");
        try (var other = LoadedModel.open(folder, DeviceOptions.cpu())) {
            assertThat(new TextGenerator(other).generate(TextRequest.of("the team won", TWENTY))).isEqualTo(expected);
        }
    }

    @Test
    void aConversationGoesThroughTheTemplate() {
        var messages = List.of(Message.system("be brief"), Message.user("the river"));
        var chatting = new TextGenerator(loaded, (given, addGenerationPrompt) -> {
            assertThat(given).isEqualTo(messages);
            assertThat(addGenerationPrompt).isTrue();
            return "the river";
        });
        var answer = chatting.generate(TextRequest.chat(messages, TWENTY));
        // Without the special tokens, which a template writes itself.
        assertThat(answer.promptTokens()).isEqualTo(loaded.tokenizer().encode("the river", false).length)
                .isEqualTo(generator.generate(TextRequest.of("the river", TWENTY)).promptTokens() - 1);
        assertThatThrownBy(() -> generator.generate(TextRequest.chat(messages, TWENTY))).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("chat template");
    }

    @Test
    void whatDoesNotFitIsRefusedByItsPlace() {
        var fine = TextRequest.of("the river", TWENTY);
        var tooLong = TextRequest.of("xyz ".repeat(60), TWENTY);
        assertThatThrownBy(() -> generator.generate(tooLong)).isInstanceOf(InputException.class)
                .hasMessageContaining("the prompt has").hasMessageContaining("context is 96");
        assertThatThrownBy(() -> generator.generate(List.of(fine, tooLong))).isInstanceOf(InputException.class)
                .hasMessageContaining("prompt 1 has");
        assertThatThrownBy(() -> generator.generate(fine.withSlot(1))).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("slot 1 of 1");
        var silent = new TextGenerator(loaded, (messages, addGenerationPrompt) -> "");
        assertThatThrownBy(() -> silent.generate(TextRequest.chat(List.of(Message.user("x")), TWENTY))).isInstanceOf(InputException.class)
                .hasMessageContaining("empty: the model's chat template writes nothing");
    }
}
