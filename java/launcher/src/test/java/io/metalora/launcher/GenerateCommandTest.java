package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.model.GenerationOptions;
import io.metalora.model.Generator;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.DeviceOptions;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GenerateCommandTest {

    @Test
    void printsWhatTheModelContinuesWith() {
        var result = Cli.run("generate", "--model", Cli.model(), "--prompt", "the team won", "--max-new-tokens", "12");
        assertThat(result.err()).isEmpty();
        assertThat(result.code()).isZero();
        assertThat(result.out()).isEqualTo(expected("the team won", 12) + System.lineSeparator());
    }

    /** Not the arguments that stand in a file of that name. */
    @Test
    void aPromptMayBeginWithAnAt(@TempDir Path folder) throws IOException {
        Path file = Files.writeString(folder.resolve("prompt"), "the team won --bogus");
        var result = Cli.run("generate", "--model", Cli.model(), "--prompt", "@" + file, "--max-new-tokens", "3");
        assertThat(result.code()).as(result.err()).isZero();
        assertThat(result.out()).isEqualTo(expected("@" + file, 3) + System.lineSeparator());
    }

    @Test
    void moreTokensThanTheContextHasAreThoseItHas() {
        var most = Cli.run("generate", "--model", Cli.model(), "--prompt", "the team won", "--max-new-tokens", Integer.MAX_VALUE);
        assertThat(most.code()).as(most.err()).isZero();
        assertThat(most.out()).isEqualTo(Cli.run("generate", "--model", Cli.model(), "--prompt", "the team won", "--max-new-tokens", 95).out());
    }

    private static String expected(String prompt, int count) {
        try (var loaded = LoadedModel.open(Cli.model(), DeviceOptions.cpu());
                var generator = new Generator(loaded.model(), null, 90)) {
            int[] ids = loaded.tokenizer().encode(prompt, true);
            int[] next = generator.generate(ids, new GenerationOptions(count, 0, 1, 0, loaded.model().config().eosTokenIds()));
            int[] all = java.util.Arrays.copyOf(ids, ids.length + next.length);
            System.arraycopy(next, 0, all, ids.length, next.length);
            return loaded.tokenizer().decode(all, true).substring(loaded.tokenizer().decode(ids, true).length());
        }
    }

    @Test
    void theAdapterChangesTheText() {
        var base = Cli.run("generate", "--model", Cli.model(), "--prompt", "the river", "--max-new-tokens", "16");
        var adapted = Cli.run("generate", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--prompt", "the river",
                "--max-new-tokens", "16");
        assertThat(adapted.code()).isZero();
        assertThat(adapted.out()).isNotEqualTo(base.out());
    }

    @Test
    void samplingRepeatsWithItsSeed() {
        Object[] args = {"generate", "--model", Cli.model(), "--prompt", "are you", "--max-new-tokens", "20", "--temperature", "1.3",
            "--top-p", "0.9", "--seed", "5"};
        var first = Cli.run(args);
        var second = Cli.run(args);
        args[args.length - 1] = "6";
        var other = Cli.run(args);
        assertThat(first.code()).isZero();
        assertThat(second.out()).isEqualTo(first.out());
        assertThat(other.out()).isNotEqualTo(first.out());
    }

    @Test
    void asManyNewTokensAsAnIntHoldsEndsAtTheContext(@TempDir Path folder) throws IOException {
        var result = Cli.run("generate", "--model", Cli.model(), "--prompt", "the team won", "--max-new-tokens", Integer.MAX_VALUE);
        assertThat(result.err()).isEmpty();
        assertThat(result.code()).isZero();
        assertThat(result.out()).startsWith(expected("the team won", 12));

        Path model = Cli.copyOfModel(folder);
        Path config = model.resolve("config.json");
        Files.writeString(config, Files.readString(config).replace("\"max_position_embeddings\": 96", "\"max_position_embeddings\": 2147483647"));
        var tooMany = Cli.run("generate", "--model", model, "--prompt", "the team won", "--max-new-tokens", Integer.MAX_VALUE);
        assertThat(tooMany.code()).as(tooMany.err()).isEqualTo(2);
        assertThat(tooMany.err()).contains("Generating up to 2147483647 tokens needs", "ask for fewer tokens");
    }

    @Test
    void jsonHasTheTextAndItsCounts() throws IOException {
        Object[] args = {"generate", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--prompt", "the river",
            "--max-new-tokens", "12"};
        String text = Cli.run(args).out();
        Object[] withJson = java.util.Arrays.copyOf(args, args.length + 1);
        withJson[args.length] = "--json";
        var result = Cli.run(withJson);
        assertThat(result.code()).as(result.err()).isZero();
        var json = new ObjectMapper().readTree(result.out());
        assertThat(json.fieldNames()).toIterable().containsExactly("text", "finish_reason", "prompt_tokens", "completion_tokens");
        assertThat(json.get("text").asText() + System.lineSeparator()).isEqualTo(text);
        assertThat(json.get("finish_reason").asText()).isEqualTo("length");
        assertThat(json.get("completion_tokens").asInt()).isEqualTo(12);
        try (var tokenizer = TextTokenizer.load(Cli.model())) {
            assertThat(json.get("prompt_tokens").asInt()).isEqualTo(tokenizer.encode("the river", true).length);
        }
    }

    @Test
    void chatNeedsATemplate() {
        var result = Cli.run("generate", "--model", Cli.model(), "--prompt", "hello", "--chat");
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains(Cli.model().toString(), "no chat template", "omit --chat");
    }

    @Test
    void aPromptLongerThanTheContextIsBadInput() {
        var result = Cli.run("generate", "--model", Cli.model(), "--prompt", "xyz ".repeat(60));
        assertThat(result.code()).isEqualTo(2);
        assertThat(result.err()).contains("the prompt has", "context is 96", "shorter");
    }

    /** What was printed until then is the text's beginning; as JSON, which comes at the end, there is nothing. */
    @ParameterizedTest
    @ValueSource(strings = {"", "--json"})
    void ctrlCEndsIt(String more, @TempDir Path folder) throws IOException, InterruptedException {
        Path model = Cli.copyOfModel(folder);
        Path config = model.resolve("config.json");
        Files.writeString(config, Files.readString(config).replace("\"max_position_embeddings\": 96", "\"max_position_embeddings\": 1000000"));
        var arguments = new ArrayList<Object>(List.of("generate", "--model", model, "--prompt", "the team won", "--max-new-tokens"));
        String begin = Cli.run(with(arguments, "60")).out().stripTrailing();
        Path running = folder.resolve("out");
        Process process = JavaProcess.start(folder, List.of(), with(arguments, "900000", more));
        if (more.isEmpty()) {
            long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(1);
            while (Files.size(running) < begin.getBytes(StandardCharsets.UTF_8).length && process.isAlive() && System.nanoTime() < end) {
                Thread.sleep(10);
            }
        } else {
            Thread.sleep(1500);
        }
        JavaProcess.interrupt(process);
        var stopped = JavaProcess.await(process, folder);
        assertThat(stopped.code()).as(stopped.err()).isEqualTo(130);
        assertThat(stopped.err()).isEmpty();
        if (more.isEmpty()) {
            assertThat(stopped.out()).startsWith(begin);
        } else {
            assertThat(stopped.out()).isEmpty();
        }
    }

    private static Object[] with(List<Object> arguments, String... more) {
        var all = new ArrayList<>(arguments);
        Arrays.stream(more).filter(one -> !one.isEmpty()).forEach(all::add);
        return all.toArray();
    }
}
