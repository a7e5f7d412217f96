package io.metalora.text;

import ai.djl.engine.EngineException;
import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import io.metalora.runtime.InputException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;

/**
 * A model's tokenizer: its tokenizer.json, run by Hugging Face's own tokenizers library. Neither pads nor truncates.
 */
public final class TextTokenizer implements AutoCloseable {

    static {
        // The library is in the jar; without these, DJL looks for a GPU variant on the network where it sees a GPU.
        setUnlessChosen("RUST_FLAVOR", "cpu");
        setUnlessChosen("ai.djl.offline", "true");
        setUnlessChosen("OPT_OUT_TRACKING", "true");
    }

    private final Path file;
    private final HuggingFaceTokenizer tokenizer;
    private final int vocabSize;

    private TextTokenizer(Path file, HuggingFaceTokenizer tokenizer, int vocabSize) {
        this.file = file;
        this.tokenizer = tokenizer;
        this.vocabSize = vocabSize;
    }

    /** Reads tokenizer.json in {@code modelDir}. */
    public static TextTokenizer load(Path modelDir) {
        Path file = modelDir.resolve("tokenizer.json");
        byte[] json;
        try {
            json = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            String hint = Files.exists(modelDir.resolve("tokenizer.model"))
                    ? "; convert tokenizer.model: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
                    : "; fetch it from where the model came from";
            throw new InputException(modelDir + " has no tokenizer.json" + hint, e);
        } catch (IOException e) {
            throw new InputException(file + " cannot be read: " + e.getMessage(), e);
        }
        int vocabSize = vocabSize(file, json);
        try {
            var options = Map.of("padding", "false", "truncation", "false");
            return new TextTokenizer(
                    file, HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(json), options), vocabSize);
        } catch (EngineException | LinkageError e) {
            throw new IllegalStateException("the tokenizers library can't be loaded: " + e.getMessage()
                    + "; it is unpacked into ~/.djl.ai: if that can't be written, set -DDJL_CACHE_DIR=FOLDER", e);
        } catch (RuntimeException | IOException e) {
            throw new InputException(file + " is no tokenizer that the tokenizers library can read: " + e.getMessage()
                    + "; fetch it again or save it with a current version of transformers", e);
        }
    }

    /** Ids of {@code text}; with {@code addSpecialTokens}, what tokenizer.json adds around it (often a BOS). */
    public int[] encode(String text, boolean addSpecialTokens) {
        checkUnicode(text);
        Encoding encoding = tokenizer.encode(text, addSpecialTokens, false);
        long[] ids = encoding.getIds();
        var out = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            out[i] = Math.toIntExact(ids[i]);
        }
        return out;
    }

    /** The text of {@code ids}, with or without tokens such as {@code <|im_end|>}. */
    public String decode(int[] ids, boolean skipSpecial) {
        for (int id : ids) {
            if (id < 0) {
                throw new IllegalArgumentException("token id " + id + " is negative");
            }
        }
        return tokenizer.decode(Arrays.stream(ids).asLongStream().toArray(), skipSpecial);
    }

    /** The highest id plus one. A model's own vocab_size may be larger (padded), never smaller. */
    public int vocabSize() {
        return vocabSize;
    }

    public Path file() {
        return file;
    }

    @Override
    public void close() {
        tokenizer.close();
    }

    /** Half of a surrogate pair is no character, so it has no UTF-8 and no token. */
    private static void checkUnicode(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
            } else if (Character.isSurrogate(c)) {
                throw new InputException("the text holds an unpaired surrogate (\\u%04x) at character %d, which is no"
                        .formatted((int) c, i) + " Unicode character; repair the text's encoding");
            }
        }
    }

    /** The highest id in model.vocab and added_tokens, plus one. */
    private static int vocabSize(Path file, byte[] json) {
        var factory = JsonFactory.builder()
                .streamReadConstraints(StreamReadConstraints.builder().maxNameLength(1 << 20).build())
                .build();
        try (JsonParser in = factory.createParser(json)) {
            int max = new VocabularyReader(in).maxId();
            if (max < 0 || max == Integer.MAX_VALUE) {
                throw new InputException(file + " holds no usable vocabulary (model.vocab); it is no tokenizer of the"
                        + " tokenizers library: fetch it again");
            }
            return max + 1;
        } catch (JsonProcessingException e) {
            var at = e.getLocation();
            throw new InputException(file + (at == null ? "" : ", line " + at.getLineNr() + ", column "
                    + at.getColumnNr()) + ": malformed JSON: " + e.getOriginalMessage() + "; fetch the file again", e);
        } catch (IOException e) {
            throw new InputException(file + " cannot be read: " + e.getMessage(), e);
        }
    }

    /** Walks tokenizer.json without building its tree. */
    private record VocabularyReader(JsonParser in) {

        int maxId() throws IOException {
            int max = -1;
            if (in.nextToken() != JsonToken.START_OBJECT) {
                return max;
            }
            while (in.nextToken() == JsonToken.FIELD_NAME) {
                String key = in.currentName();
                JsonToken value = in.nextToken();
                if (key.equals("model") && value == JsonToken.START_OBJECT) {
                    max = Math.max(max, model());
                } else if (key.equals("added_tokens") && value == JsonToken.START_ARRAY) {
                    max = Math.max(max, addedTokens());
                } else {
                    in.skipChildren();
                }
            }
            return max;
        }

        private int model() throws IOException {
            int max = -1;
            while (in.nextToken() == JsonToken.FIELD_NAME) {
                boolean vocab = in.currentName().equals("vocab");
                JsonToken value = in.nextToken();
                if (vocab && value == JsonToken.START_OBJECT) { // BPE, WordPiece, WordLevel: token -> id
                    while (in.nextToken() == JsonToken.FIELD_NAME) {
                        in.nextToken();
                        max = Math.max(max, in.getValueAsInt(-1));
                        in.skipChildren();
                    }
                } else if (vocab && value == JsonToken.START_ARRAY) { // Unigram: [token, score], the id is the index
                    while (in.nextToken() != JsonToken.END_ARRAY) {
                        in.skipChildren();
                        max++;
                    }
                } else {
                    in.skipChildren();
                }
            }
            return max;
        }

        private int addedTokens() throws IOException {
            int max = -1;
            while (in.nextToken() != JsonToken.END_ARRAY) {
                if (in.currentToken() != JsonToken.START_OBJECT) {
                    in.skipChildren();
                    continue;
                }
                while (in.nextToken() == JsonToken.FIELD_NAME) {
                    boolean id = in.currentName().equals("id");
                    in.nextToken();
                    if (id) {
                        max = Math.max(max, in.getValueAsInt(-1));
                    }
                    in.skipChildren();
                }
            }
            return max;
        }
    }

    private static void setUnlessChosen(String key, String value) {
        if (System.getProperty(key) == null && System.getenv(key) == null) {
            System.setProperty(key, value);
        }
    }
}
