package io.metalora.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.files.JavaCommand;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A file on which the tokenizers library ends the process, for a reason that is not looked for, ends with a message. */
class TokenizerTrialTest {

    private static final long PLENTY = 120;

    @TempDir
    private Path folder;

    private static TokenizerFile file(ObjectNode json) {
        return TokenizerFile.of(Path.of("model", "tokenizer.json"), TokenizerFiles.bytes(json));
    }

    @Test
    void passesEveryKind() {
        assertThat(TokenizerTrial.unavailable()).isEmpty();
        assertThat(TokenizerTrial.hold(file(TokenizerFiles.byteLevel()), PLENTY)).isTrue();
        assertThat(TokenizerTrial.hold(file(TokenizerFiles.byteFallback()), PLENTY)).isTrue();
        assertThat(TokenizerTrial.hold(file(TokenizerFiles.unigram()), PLENTY)).isTrue();
        assertThat(TokenizerTrial.hold(file(TokenizerFiles.wordPiece()), PLENTY)).isTrue();
    }

    /** The library loses count where a normalizer puts something in place of nothing. */
    private static ObjectNode aborting() {
        ObjectNode json = TokenizerFiles.byteLevel();
        json.set("normalizer", TokenizerFiles.parse("{'type': 'Replace', 'pattern': {'Regex': 'a*'}, 'content': 'xy'}"));
        return json;
    }

    @Test
    void survivesWhatEndsTheLibrary() throws IOException {
        Files.write(folder.resolve("tokenizer.json"), TokenizerFiles.bytes(aborting()));
        assertThatThrownBy(() -> TextTokenizer.load(folder)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(folder.resolve("tokenizer.json") + " can't be used: the tokenizers library")
                .hasMessageContaining("index out of bounds").hasMessageContaining("fetch it again");
    }

    /** An expression that goes back and forth for ever on some texts. */
    @Test
    void findsAPatternThatNeverEnds() {
        ObjectNode json = TokenizerFiles.byteLevel();
        json.set("pre_tokenizer", TokenizerFiles.parse(
                "{'type': 'Split', 'pattern': {'Regex': '(\\\\w+\\\\s?)*$'}, 'behavior': 'Isolated', 'invert': false}"));
        assertThatThrownBy(() -> TokenizerTrial.hold(file(json), PLENTY)).isInstanceOf(InputException.class)
                .hasMessageContaining("retry-limit");
    }

    @Test
    void endsWhatTakesTooLong() {
        assertThatThrownBy(() -> TokenizerTrial.hold(file(TokenizerFiles.byteLevel()), 0)).isInstanceOf(InputException.class)
                .hasMessageContaining("took more than 0 seconds");
    }

    /** Whatever signal ends the trial, the file has not passed. */
    @ParameterizedTest
    @ValueSource(ints = {129, 130, 132, 134, 135, 136, 137, 139, 143, 159, 255})
    void refusesWhatASignalEnds(int exit) {
        Path file = Path.of("model", "tokenizer.json");
        var output = CompletableFuture.completedFuture("thread 'main' panicked at lib.rs:\nof this");
        assertThatThrownBy(() -> TokenizerTrial.passed(file, exit, output)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(file.toString())
                .hasMessageContaining(exit == 137 ? "memory may be short" : Set.of(129, 130, 143).contains(exit) ? "signal " + (exit - 128)
                        : "ends the process that uses it (of this)");
    }

    @Test
    void anEndOfItsOwnTellsNothing() {
        var none = CompletableFuture.completedFuture("");
        assertThat(TokenizerTrial.passed(Path.of("f"), 0, none)).isTrue();
        assertThat(TokenizerTrial.passed(Path.of("f"), 1, none)).isFalse();
    }

    /** {@code Loading FOLDER} loads its tokenizer. */
    static final class Loading {
        public static void main(String[] args) {
            TextTokenizer.load(Path.of(args[0])).close();
        }
    }

    /** A process that is killed leaves none behind that tries for ever. */
    @Test
    void endsWithWhoStartedIt() throws IOException, InterruptedException {
        ObjectNode json = TokenizerFiles.byteLevel();
        json.set("normalizer", TokenizerFiles.parse("{'type': 'Prepend', 'prepend': '" + "x".repeat(3_000_000) + "'}"));
        Files.write(folder.resolve("tokenizer.json"), TokenizerFiles.bytes(json));
        Process starter = new ProcessBuilder(JavaCommand.of(Loading.class, folder)).redirectErrorStream(true)
                .redirectOutput(folder.resolve("out").toFile()).start();
        List<ProcessHandle> trial = List.of();
        try {
            do {
                assertThat(starter.isAlive()).as(Files.readString(folder.resolve("out"))).isTrue();
                Thread.sleep(50);
                trial = starter.descendants().toList();
            } while (trial.isEmpty());
            Thread.sleep(2000); // it has begun
            starter.destroyForcibly().waitFor();
            for (ProcessHandle process : trial) {
                assertThat(process.onExit()).as("the trial ends").succeedsWithin(Duration.ofSeconds(10));
            }
        } finally {
            trial.forEach(ProcessHandle::destroyForcibly);
            starter.destroyForcibly();
        }
    }

    /** What the library refuses in an orderly way, it may say itself. */
    @Test
    void leavesRefusalsToTheLibrary() throws IOException {
        ObjectNode json = TokenizerFiles.byteLevel();
        ((ObjectNode) json.get("model")).put("type", "Unheard");
        assertThat(TokenizerTrial.hold(file(json), PLENTY)).isFalse();
        Files.write(folder.resolve("tokenizer.json"), TokenizerFiles.bytes(json));
        assertThatThrownBy(() -> TextTokenizer.load(folder)).isInstanceOf(InputException.class)
                .hasMessageContaining("is not a tokenizer that the tokenizers library can read");
    }

    /** Otherwise its first use costs a trial; the list is made by sha256sum. */
    @Test
    void theEmbeddedModelsTokenizerIsKnown() throws Exception {
        byte[] json = Files.readAllBytes(Path.of("../../models/tiny/tokenizer.json"));
        String hash = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(json));
        try (var in = TokenizerTrial.class.getResourceAsStream("known-tokenizers.txt")) {
            assertThat(new String(in.readAllBytes())).contains(hash + " models/tiny");
        }
        assertThat(TokenizerTrial.hold(TokenizerFile.of(Path.of("tiny"), json), PLENTY)).isTrue();
    }
}
