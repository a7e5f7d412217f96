package io.metalora.text;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.CharSpan;
import io.metalora.runtime.InputException;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * A model's tokenizer: its tokenizer.json, run by Hugging Face's own tokenizers library. Neither pads nor truncates.
 *
 * <p>The library is native and aborts the process on some files. A file is therefore checked first and, the first time it is
 * seen, tried in a JVM of its own (about half a second); the system property {@value TokenizerTrial#PROPERTY} set to {@code off}
 * omits that. Loading the library also sets the system property {@code OPT_OUT_TRACKING}, unless the application or the
 * environment has set it: otherwise DJL would report its use over the network.
 */
public final class TextTokenizer implements AutoCloseable {

    private final Path file;
    private final HuggingFaceTokenizer tokenizer;
    private final int vocabSize;

    private TextTokenizer(Path file, HuggingFaceTokenizer tokenizer, int vocabSize) {
        this.file = file;
        this.tokenizer = tokenizer;
        this.vocabSize = vocabSize;
    }

    /**
     * Reads tokenizer.json in {@code modelDir}.
     *
     * @throws InputException        if there is none, or none that the library can use
     * @throws IllegalStateException if the library can't be loaded
     */
    public static TextTokenizer load(Path modelDir) {
        TokenizerFile file = TokenizerFile.read(modelDir);
        TokenizerLibrary.load();
        TokenizerTrial.require(file);
        try {
            return new TextTokenizer(file.file(), TokenizerLibrary.open(file.json()), file.vocabSize());
        } catch (RuntimeException e) {
            throw new InputException(file.file() + " is not a tokenizer that the tokenizers library can read: " + e.getMessage()
                    + "; fetch it again or save it with a current version of transformers", e);
        }
    }

    /**
     * The bytes of tokenizer.json in {@code modelDir}, without a byte order mark.
     *
     * @throws InputException if there is none, or it is damaged
     */
    public static byte[] contents(Path modelDir) {
        return TokenizerFile.read(modelDir).json();
    }

    /** Ids of {@code text}; with {@code addSpecialTokens}, what tokenizer.json adds around it (often a BOS). */
    public int[] encode(String text, boolean addSpecialTokens) {
        return ids(encoding(text, addSpecialTokens));
    }

    /** Ids of {@code text} without special tokens of the tokenizer's own, with the characters of {@code text} each is from. */
    public TokenOffsets encodeWithOffsets(String text) {
        Encoding encoding = encoding(text, false);
        CharSpan[] spans = encoding.getCharTokenSpans();
        var starts = new int[spans.length];
        var ends = new int[spans.length];
        // The library counts code points, Java UTF-16 units.
        var index = new int[text.codePointCount(0, text.length()) + 1];
        for (int point = 0, at = 0; point < index.length; point++) {
            index[point] = at;
            at += at < text.length() ? Character.charCount(text.codePointAt(at)) : 0;
        }
        for (int i = 0; i < spans.length; i++) {
            starts[i] = spans[i] == null ? 0 : index[spans[i].getStart()];
            ends[i] = spans[i] == null ? 0 : index[spans[i].getEnd()];
        }
        return new TokenOffsets(ids(encoding), starts, ends);
    }

    private Encoding encoding(String text, boolean addSpecialTokens) {
        int bad = unpairedSurrogate(text);
        if (bad >= 0) {
            throw new InputException("the text holds an unpaired surrogate (\\u%04x) at character %d, which is no"
                    .formatted((int) text.charAt(bad), bad) + " Unicode character; repair the text's encoding");
        }
        try {
            return tokenizer.encode(text, addSpecialTokens, false);
        } catch (RuntimeException e) {
            throw new InputException("the text can't be encoded with " + file + ": " + e.getMessage(), e);
        }
    }

    private int[] ids(Encoding encoding) {
        long[] ids = encoding.getIds();
        var out = new int[ids.length];
        for (int i = 0; i < ids.length; i++) {
            if (ids[i] > Integer.MAX_VALUE) {
                throw new InputException(file + " gives the token id " + ids[i] + ", which no model has; fetch it again");
            }
            out[i] = (int) ids[i];
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

    /** Where half of a surrogate pair stands, which is no character, so that it has no UTF-8 and no token; or -1. */
    static int unpairedSurrogate(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
                i++;
            } else if (Character.isSurrogate(c)) {
                return i;
            }
        }
        return -1;
    }
}
