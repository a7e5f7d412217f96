package io.metalora.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.file.JsonText;
import io.metalora.file.RegularFile;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;

/**
 * A tokenizer.json, checked before the tokenizers library sees it. That library is compiled Rust: what it does not expect aborts
 * the whole process. Files are refused on which its version 0.21.4 is known to abort, when it reads them or at some text later.
 *
 * @param json              the file's contents in UTF-8, without a byte order mark
 * @param vocabSize         the highest id plus one
 * @param patternCharacters letters and signs of its regular expressions, to try them on
 */
record TokenizerFile(Path file, byte[] json, int vocabSize, String patternCharacters) {

    private static final long MAX_BYTES = 256L << 20; // the largest known have some 35 MB

    /** The library aborts on a decoder of 64 levels, each of two brackets; real files have 10 brackets. */
    private static final int MAX_DEPTH = 64;
    /** It takes tokens apart by recursion: 20,000 bytes are too many for a thread's stack. */
    private static final int MAX_UNIGRAM_TOKEN = 1024;
    private static final int MOST_CHARACTERS = 100;
    private static final int MAX_PATTERN = 10_000;
    private static final int MAX_PATTERN_DEPTH = 50;

    private static final ObjectMapper TREES = new ObjectMapper();
    private static final JsonFactory JSON = JsonFactory.builder()
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES) // a vocabulary's are all different
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_DEPTH).maxNameLength(1 << 20).maxStringLength((int) MAX_BYTES).build())
            .build();

    /** Reads and checks tokenizer.json in {@code modelDir}. */
    static TokenizerFile read(Path modelDir) {
        ModelConfig.requireFolder(modelDir);
        Path file = modelDir.resolve("tokenizer.json");
        if (!RegularFile.isNamed(file)) {
            String hint = Files.exists(modelDir.resolve("tokenizer.model"))
                    ? "; convert tokenizer.model: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
                    : "; fetch it from where the model came from";
            throw new InputException(modelDir + " has no tokenizer.json" + hint);
        }
        return of(file, JsonText.read(file, MAX_BYTES, "a tokenizer.json"));
    }

    static TokenizerFile of(Path file, byte[] bytes) {
        byte[] json = JsonText.utf8(file.toString(), bytes);
        try (JsonParser in = JSON.createParser(json)) {
            var check = new Check(file, in);
            int max = check.document();
            if (max < 0 || max == Integer.MAX_VALUE) {
                throw new InputException(file + " holds no usable vocabulary (model.vocab); it is not a tokenizer of the"
                        + " tokenizers library: fetch it again");
            }
            return new TokenizerFile(file, json, max + 1, check.characters());
        } catch (JsonProcessingException e) {
            throw new InputException(file + JsonText.place(e) + ": malformed JSON: " + JsonText.problem(e)
                    + "; fetch the file again", e);
        } catch (IOException e) {
            throw new InputException(file + " cannot be read: " + FileFailure.reason(e), e);
        }
    }

    /** Walks the file. The vocabulary is not built as a tree; the other parts are small. */
    private static final class Check {
        private final Path file;
        private final JsonParser in;
        private final Set<Integer> characters = new TreeSet<>();

        Check(Path file, JsonParser in) {
            this.file = file;
            this.in = in;
        }

        String characters() {
            return characters.stream().limit(MOST_CHARACTERS).collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append).toString();
        }

        /** The highest id, or -1. */
        int document() throws IOException {
            int max = -1;
            if (next() != JsonToken.START_OBJECT) {
                return max;
            }
            while (next() == JsonToken.FIELD_NAME) {
                String key = in.currentName();
                JsonToken value = next();
                switch (key) {
                    case "model" -> max = Math.max(max, model());
                    case "added_tokens" -> max = Math.max(max, addedTokens());
                    case "normalizer", "pre_tokenizer", "post_processor", "decoder" -> part(key);
                    default -> skip(value);
                }
            }
            if (next() != null) {
                throw refused("", "is followed by more text");
            }
            return max;
        }

        private int model() throws IOException {
            int max = -1;
            if (in.currentToken() != JsonToken.START_OBJECT) {
                skip(in.currentToken());
                return max;
            }
            while (next() == JsonToken.FIELD_NAME) {
                String key = in.currentName();
                JsonToken value = next();
                if (key.equals("vocab") && value == JsonToken.START_OBJECT) { // BPE, WordPiece, WordLevel: token -> id
                    while (next() == JsonToken.FIELD_NAME) {
                        value = next();
                        max = Math.max(max, in.getValueAsInt(-1));
                        skip(value);
                    }
                } else if (key.equals("vocab") && value == JsonToken.START_ARRAY) { // Unigram: [token, score], the id is the index
                    for (value = next(); value != JsonToken.END_ARRAY; value = next()) {
                        max++;
                        unigramToken(value, max);
                    }
                } else if (key.equals("dropout") && value.isNumeric() && in.getDoubleValue() != 0) {
                    throw refused("model.dropout", "is " + in.getText() + ", so that a text would get other tokens every time;"
                            + " set it to null");
                } else {
                    skip(value);
                }
            }
            return max;
        }

        private void unigramToken(JsonToken entry, int id) throws IOException {
            if (entry != JsonToken.START_ARRAY) {
                skip(entry);
                return;
            }
            for (JsonToken value = next(); value != JsonToken.END_ARRAY; value = next()) {
                if (value == JsonToken.VALUE_STRING && in.getTextLength() > MAX_UNIGRAM_TOKEN) {
                    throw refused("model.vocab[" + id + "]", "is a token of " + in.getTextLength()
                            + " characters; the tokenizers library can take " + MAX_UNIGRAM_TOKEN);
                }
                skip(value);
            }
        }

        private int addedTokens() throws IOException {
            int max = -1;
            if (in.currentToken() != JsonToken.START_ARRAY) {
                skip(in.currentToken());
                return max;
            }
            for (JsonToken value = next(); value != JsonToken.END_ARRAY; value = next()) {
                if (value != JsonToken.START_OBJECT) {
                    skip(value);
                    continue;
                }
                while (next() == JsonToken.FIELD_NAME) {
                    boolean id = in.currentName().equals("id");
                    value = next();
                    if (id) {
                        max = Math.max(max, in.getValueAsInt(-1));
                    }
                    skip(value);
                }
            }
            return max;
        }

        private JsonToken next() throws IOException {
            JsonToken token = in.nextToken();
            if (token == JsonToken.FIELD_NAME) {
                requireCharacters(in.currentName());
            } else if (token == JsonToken.VALUE_STRING) {
                requireCharacters(in.getText());
            } else if (token != null && token.isNumeric() && Double.isInfinite(in.getDoubleValue())) {
                throw refused("", "holds the number " + in.getText().substring(0, Math.min(40, in.getTextLength()))
                        + ", which is out of range");
            }
            return token;
        }

        private void requireCharacters(String text) {
            int at = TextTokenizer.unpairedSurrogate(text);
            if (at >= 0) {
                throw refused("", "holds \\u%04x, half of a character, in line %d".formatted((int) text.charAt(at),
                        in.currentLocation().getLineNr()));
            }
        }

        /** Skips the rest of a value, of which {@code begun} was read. */
        private void skip(JsonToken begun) throws IOException {
            for (int depth = begun.isStructStart() ? 1 : 0; depth > 0; ) {
                JsonToken token = next();
                depth += token.isStructStart() ? 1 : token.isStructEnd() ? -1 : 0;
            }
        }

        // ---- the parts that say how a text is taken apart and put together

        private void part(String key) throws IOException {
            var found = new int[1];
            walk(key, key, TREES.readTree(in), found);
            if (found[0] > 1) {
                throw refused(key, "holds " + found[0] + " templates, of which the tokenizers library can take one");
            }
        }

        /** @param templates counts those of the post-processor */
        private void walk(String part, String path, JsonNode node, int[] templates) {
            if (node.isTextual()) {
                requireCharacters(node.textValue());
            } else if (node.isNumber() && Double.isInfinite(node.doubleValue())) {
                throw refused(path, "is out of range");
            } else if (node.isArray()) {
                for (int i = 0; i < node.size(); i++) {
                    walk(part, path + "[" + i + "]", node.get(i), templates);
                }
            } else if (node.isObject()) {
                component(part, path, node, templates);
                for (var entry : node.properties()) {
                    requireCharacters(entry.getKey());
                    walk(part, path + "." + entry.getKey(), entry.getValue(), templates);
                }
            }
        }

        private void component(String part, String path, JsonNode node, int[] templates) {
            if (node.path("Regex").isTextual()) {
                pattern(path + ".Regex", node.get("Regex").textValue());
            }
            switch (part) {
                case "normalizer" -> {
                    if (node.has("precompiled_charsmap") || node.path("type").asText().equals("Precompiled")) {
                        PrecompiledMap.check(node.path("precompiled_charsmap"), problem -> refused(path + ".precompiled_charsmap", problem));
                    }
                    if (node.path("prepend").asText("-").isEmpty()) {
                        throw refused(path + ".prepend", "is empty; remove that normalizer");
                    }
                }
                case "pre_tokenizer" -> {
                    if (node.path("length").isNumber() && node.get("length").doubleValue() < 1) {
                        throw refused(path + ".length", "is " + node.get("length") + ", but must be at least 1");
                    }
                }
                case "decoder" -> {
                    if (node.path("stop").isNumber() && node.get("stop").doubleValue() != 0) {
                        throw refused(path + ".stop", "is " + node.get("stop") + ", which the tokenizers library can't take; set it to 0");
                    }
                }
                default -> {
                    if (node.path("single").isArray()) {
                        templates[0]++;
                        template(path, node);
                    }
                }
            }
        }

        private void pattern(String path, String expression) {
            int depth = 0;
            int classes = 0;
            for (int i = 0; i < expression.length(); i++) {
                char c = expression.charAt(i);
                if (c == '\\') {
                    i++;
                } else if (c == '[') {
                    classes++;
                } else if (c == ']') {
                    classes = Math.max(0, classes - 1);
                } else if (classes == 0 && c == '(') {
                    depth++;
                } else if (classes == 0 && c == ')') {
                    depth--;
                }
                if (depth + classes > MAX_PATTERN_DEPTH) {
                    throw refused(path, "is nested more than " + MAX_PATTERN_DEPTH + " deep");
                }
            }
            if (expression.length() > MAX_PATTERN) {
                throw refused(path, "has " + expression.length() + " characters, more than " + MAX_PATTERN);
            }
            expression.codePoints().forEach(characters::add);
        }

        /** What a text is put into: every special token must be described, and there is no second text. */
        private void template(String path, JsonNode template) {
            JsonNode known = template.path("special_tokens");
            for (JsonNode piece : template.get("single")) {
                JsonNode token = piece.path("SpecialToken").path("id");
                if (token.isTextual() && !known.has(token.textValue())) {
                    throw refused(path + ".single", "names the special token " + token + ", which special_tokens does not describe");
                }
                if (piece.path("Sequence").path("id").asText().equals("B")) {
                    throw refused(path + ".single", "names a second text (B), but there is only one");
                }
            }
            for (var token : known.properties()) {
                if (token.getValue().path("ids").size() != token.getValue().path("tokens").size()) {
                    throw refused(path + ".special_tokens." + token.getKey(), "has other numbers of ids than of tokens");
                }
            }
        }

        private InputException refused(String key, String problem) {
            return new InputException(file + ": " + key + (key.isEmpty() ? "it " : " ") + problem
                    + "; fetch it again or save it with a current version of transformers");
        }
    }
}
