package io.metalora.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.runtime.InputException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the tokenizers library is known to end the process on is refused before it sees it. */
class TokenizerFileTest {

    private static final Path FILE = Path.of("model", "tokenizer.json");

    private static TokenizerFile read(ObjectNode json) {
        return TokenizerFile.of(FILE, TokenizerFiles.bytes(json));
    }

    private static AbstractThrowableAssert<?, ?> refused(Supplier<ObjectNode> base, Consumer<ObjectNode> damage) {
        ObjectNode json = base.get();
        damage.accept(json);
        return refused(TokenizerFiles.bytes(json));
    }

    private static AbstractThrowableAssert<?, ?> refused(byte[] json) {
        return assertThatThrownBy(() -> TokenizerFile.of(FILE, json)).isInstanceOf(InputException.class)
                .hasMessageStartingWith(FILE.toString());
    }

    @Test
    void takesEveryKind() {
        for (var kind : List.<Supplier<ObjectNode>>of(TokenizerFiles::byteLevel, TokenizerFiles::byteFallback, TokenizerFiles::unigram,
                TokenizerFiles::wordPiece)) {
            JsonNode vocab = kind.get().at("/model/vocab");
            assertThat(read(kind.get()).vocabSize()).isEqualTo(vocab.size());
        }
        assertThat(read(TokenizerFiles.byteLevel()).patternCharacters()).contains("?", "L", "s");
    }

    @Test
    void countsAddedTokens() {
        ObjectNode json = TokenizerFiles.byteLevel();
        json.withArray("added_tokens").addObject().put("id", 5000).put("content", "<x>");
        assertThat(read(json).vocabSize()).isEqualTo(5001);
    }

    @Test
    void stripsAByteOrderMark() {
        byte[] json = TokenizerFiles.bytes(TokenizerFiles.byteLevel());
        byte[] marked = ("\ufeff" + new String(json, StandardCharsets.UTF_8)).getBytes(StandardCharsets.UTF_8);
        assertThat(TokenizerFile.of(FILE, marked).json()).isEqualTo(json);
        refused(new String(json, StandardCharsets.UTF_8).getBytes(StandardCharsets.UTF_16)).hasMessageContaining("is UTF-16");
        refused(new String(json, StandardCharsets.UTF_8).getBytes(StandardCharsets.ISO_8859_1)).hasMessageContaining("is not UTF-8");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            post_processor | {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<x>', 'type_id': 0}}], 'pair': [], 'special_tokens': {}} | names the special token "<x>"
            post_processor | {'type': 'TemplateProcessing', 'single': [{'Sequence': {'id': 'B', 'type_id': 0}}], 'pair': [], 'special_tokens': {}} | names a second text
            post_processor | {'type': 'TemplateProcessing', 'single': [], 'pair': [], 'special_tokens': {'x': {'id': 'x', 'ids': [1, 2], 'tokens': ['x']}}} | other numbers of ids
            post_processor | {'type': 'Sequence', 'processors': [{'single': [], 'special_tokens': {}}, {'single': [], 'special_tokens': {}}]} | holds 2 templates
            normalizer     | {'type': 'Precompiled'}                                                        | normalizer.precompiled_charsmap is not base64 text
            normalizer     | {'type': 'Precompiled', 'precompiled_charsmap': 7}                              | is not base64 text
            normalizer     | {'type': 'Sequence', 'normalizers': [{'type': 'Prepend', 'prepend': ''}]}       | normalizer.normalizers[0].prepend is empty
            normalizer     | {'type': 'Replace', 'pattern': {'Regex': '%s'}, 'content': ' '}                 | nested more than 50 deep
            pre_tokenizer  | {'type': 'FixedLength', 'length': 0}                                            | must be at least 1
            decoder        | {'type': 'Sequence', 'decoders': [{'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 1}]} | decoder.decoders[0].stop is 1
            """)
    void refusesParts(String part, String json, String problem) {
        refused(TokenizerFiles::byteLevel, t -> t.set(part, TokenizerFiles.parse(json.replace("%s", "(".repeat(60) + ")".repeat(60)))))
                .hasMessageContaining(problem);
    }

    @Test
    void refusesWhatTheLibraryCanNotParse() {
        String decoder = "{\"type\":\"Sequence\",\"decoders\":[".repeat(120) + "{\"type\":\"Fuse\"}" + "]}".repeat(120);
        refused(withDecoder(decoder)).hasMessageContaining("nesting depth");
        refused(withDecoder("{\"type\":\"Fuse\",\"x\":\"\\ud800\"}")).hasMessageContaining("\\ud800");
        refused(withDecoder("{\"type\":\"Fuse\",\"\\ud800\":1}")).hasMessageContaining("\\ud800");
        refused(withDecoder("{\"type\":\"Fuse\",\"x\":1e999}")).hasMessageContaining("out of range");
        refused(withDecoder("{\"type\":\"Fuse\",\"x\":NaN}")).hasMessageContaining("NaN");
        refused(withDecoder("{\"type\":\"Fuse\"")).hasMessageContaining("malformed JSON");
        refused(withDecoder("{\"type\":\"Fuse\"}} {")).hasMessageContaining("followed by more text");
    }

    private static byte[] withDecoder(String decoder) {
        ObjectNode json = TokenizerFiles.byteLevel();
        json.remove("decoder");
        String text = json.toString();
        return (text.substring(0, text.length() - 1) + ",\"decoder\":" + decoder + "}").getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void refusesALoneSurrogateInTheVocabulary() {
        String text = TokenizerFiles.byteLevel().toString().replace("\"vocab\":{", "\"vocab\":{\"\\udc00\":7,");
        refused(text.getBytes(StandardCharsets.UTF_8)).hasMessageContaining("\\udc00");
    }

    @Test
    void refusesAModelThatDoesNotRepeatItself() {
        refused(TokenizerFiles::byteFallback, t -> ((ObjectNode) t.get("model")).put("dropout", 0.1)).hasMessageContaining("model.dropout is 0.1");
    }

    @Test
    void refusesAUnigramTokenThatIsTooLong() {
        refused(TokenizerFiles::unigram, t -> ((ArrayNode) t.at("/model/vocab/0")).set(0, "q".repeat(20_000)))
                .hasMessageContaining("model.vocab[0] is a token of 20000 characters");
    }

    @Test
    void refusesAFileWithoutAVocabulary() {
        refused("{}".getBytes(StandardCharsets.UTF_8)).hasMessageContaining("no usable vocabulary");
        refused("[]".getBytes(StandardCharsets.UTF_8)).hasMessageContaining("no usable vocabulary");
    }

    /** Every unit of the map in turn is made to lead out of it. */
    @ParameterizedTest
    @ValueSource(ints = {0, 256 ^ 'A', 256 ^ 1})
    void refusesACharacterMapThatLeadsBeyondItself(int unit) {
        refused(TokenizerFiles::unigram, t -> ((ObjectNode) t.get("normalizer")).put("precompiled_charsmap", damaged(4 + 4 * unit + 2, 0x7f)))
                .hasMessageContaining("leads beyond its trie");
    }

    @Test
    void refusesACharacterMapWithABadReplacement() {
        refused(TokenizerFiles::unigram, t -> ((ObjectNode) t.get("normalizer")).put("precompiled_charsmap", damaged(4 + 4 * 512, 0x60)))
                .hasMessageContaining("names the replacement at byte 96");
        byte[] map = TokenizerFiles.charsmapBytes();
        map[map.length - 2] = (byte) 0xff;
        refused(TokenizerFiles::unigram, t -> ((ObjectNode) t.get("normalizer")).put("precompiled_charsmap", base64(map)))
                .hasMessageContaining("not UTF-8");
        refused(TokenizerFiles::unigram, t -> ((ObjectNode) t.get("normalizer")).put("precompiled_charsmap", base64(new byte[] {4, 0, 0, 0})))
                .hasMessageContaining("holds a trie of 4 bytes, but has 4 in all");
    }

    private static String damaged(int at, int value) {
        byte[] map = TokenizerFiles.charsmapBytes();
        map[at] = (byte) value;
        return base64(map);
    }

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }
}
