package io.metalora.task;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import io.metalora.text.TextTokenizer;
import io.metalora.text.TokenOffsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * Turns examples into token ids: encode(prompt, with special tokens), then encode(completion, without), then the end of
 * sequence token where training asks for it. For training a conversation is encoded as a whole, with loss on all assistant turns;
 * its template writes all special tokens. For scoring it is its prompt, without more special tokens, and its completion.
 */
public final class ExampleEncoder {

    /** Text to token ids, with or without the special tokens the tokenizer puts around a text. */
    @FunctionalInterface
    public interface Tokenizer {
        int[] encode(String text, boolean addSpecialTokens);

        /** Without special tokens of the tokenizer's own; only conversations need it. */
        default TokenOffsets encodeWithOffsets(String text) {
            throw new UnsupportedOperationException("this tokenizer does not say which characters a token is from");
        }

        /** A model's. */
        static Tokenizer of(TextTokenizer tokenizer) {
            return new Tokenizer() {
                @Override
                public int[] encode(String text, boolean addSpecialTokens) {
                    return tokenizer.encode(text, addSpecialTokens);
                }

                @Override
                public TokenOffsets encodeWithOffsets(String text) {
                    return tokenizer.encodeWithOffsets(text);
                }
            };
        }
    }

    private static final int NONE = -1;

    private final Tokenizer tokenizer;
    private final int longest;
    private final String limit; // what sets it, for messages
    private final int vocabSize;
    private final int endOfSequence;
    private final boolean wholeChats;
    private final boolean truncates;

    private ExampleEncoder(Tokenizer tokenizer, int longest, String limit, int vocabSize, int endOfSequence, boolean wholeChats,
                           boolean truncates) {
        this.tokenizer = Objects.requireNonNull(tokenizer, "tokenizer");
        this.longest = longest;
        this.limit = limit;
        this.vocabSize = vocabSize;
        this.endOfSequence = endOfSequence;
        this.wholeChats = wholeChats;
        this.truncates = truncates;
    }

    /** Encodes without an end of sequence token: for scoring. */
    public static ExampleEncoder forScoring(TextTokenizer tokenizer, ModelConfig config) {
        return forScoring(Tokenizer.of(tokenizer), config.maxPositions(), config.vocabSize());
    }

    /** As above, with the tokenizer, the model's positions and its vocabulary given one by one. */
    public static ExampleEncoder forScoring(Tokenizer tokenizer, int context, int vocabSize) {
        return new ExampleEncoder(tokenizer, context, context(context), vocabSize, NONE, false, false);
    }

    /**
     * Encodes with the model's (first) end of sequence token after the completion: for training.
     *
     * @throws InputException if the model's config names no end of sequence token
     */
    public static ExampleEncoder forTraining(TextTokenizer tokenizer, ModelConfig config) {
        if (config.eosTokenIds().isEmpty()) {
            throw new InputException("the model's config.json has no eos_token_id, so no end of sequence can be taught; "
                    + "add one, or train with data.append_eos: false");
        }
        return forTraining(Tokenizer.of(tokenizer), config.maxPositions(), config.vocabSize(), config.eosTokenIds().getFirst());
    }

    /** As above, with the tokenizer, the model's positions, its vocabulary and its end token given one by one. */
    public static ExampleEncoder forTraining(Tokenizer tokenizer, int context, int vocabSize, int endOfSequence) {
        return new ExampleEncoder(tokenizer, context, context(context), vocabSize, endOfSequence, true, false);
    }

    /** Encodes as for training, but without the end token after a completion. */
    public static ExampleEncoder forTrainingWithoutEnd(TextTokenizer tokenizer, ModelConfig config) {
        return forTraining(Tokenizer.of(tokenizer), config.maxPositions(), config.vocabSize(), NONE);
    }

    private static String context(int tokens) {
        return "the model's context of " + tokens;
    }

    /** This, with a lower limit on an example's tokens if {@code tokens} is lower; {@code setting} is what sets it. */
    public ExampleEncoder within(int tokens, String setting) {
        return tokens >= longest ? this
                : new ExampleEncoder(tokenizer, tokens, setting + " of " + tokens
                        + " (which can be raised up to " + limit + ")", vocabSize, endOfSequence, wholeChats, truncates);
    }

    /**
     * This, but a prompt that makes its example too long loses tokens after the special ones it begins with: what is asked for
     * usually stands at its end, beside the completion. The completion and the end of sequence stay whole, so that nothing wrong
     * is taught; where they leave no room for a token of the prompt, the example stays too long, as a conversation does.
     */
    public ExampleEncoder truncating() {
        return new ExampleEncoder(tokenizer, longest, limit, vocabSize, endOfSequence, wholeChats, true);
    }

    /**
     * All examples, in order.
     *
     * @throws InputException as from {@link #encode(Example)}; all that are too long are reported at once
     */
    public List<EncodedExample> encode(List<Example> examples) {
        TooLong tooLong = noneTooLong();
        var encoded = new ArrayList<EncodedExample>(examples.size());
        for (Example example : examples) {
            encodeOr(example, tooLong).ifPresent(encoded::add);
        }
        tooLong.refuse("");
        return encoded;
    }

    /**
     * The ids of one example.
     *
     * @throws InputException if the prompt or the completion gives no token, an id is outside the model's vocabulary, or
     *                        the sequence is longer than the model's context
     */
    public EncodedExample encode(Example example) {
        TooLong tooLong = noneTooLong();
        Optional<EncodedExample> encoded = encodeOr(example, tooLong);
        tooLong.refuse("");
        return encoded.orElseThrow();
    }

    /** The most tokens an example may have, with its end of sequence. */
    public int most() {
        return longest;
    }

    /** This without a limit on an example's tokens: for those who report lengths. */
    public ExampleEncoder ofAnyLength() {
        return new ExampleEncoder(tokenizer, Integer.MAX_VALUE, "any", vocabSize, endOfSequence, wholeChats, truncates);
    }

    /** An empty collection for examples that are too long for this encoder. */
    public TooLong noneTooLong() {
        return new TooLong(limit);
    }

    /**
     * The ids of one example; empty where it is too long, and then added to {@code tooLong}.
     *
     * @throws InputException as from {@link #encode(Example)}, but not for the length
     */
    public Optional<EncodedExample> encodeOr(Example example, TooLong tooLong) {
        if (wholeChats && example.chat() != null) {
            return conversation(example, tooLong);
        }
        int[] prompt = tokens(example.prompt(), example.chat() == null, example);
        int[] completion = tokens(example.completion(), false, example);
        if (prompt.length == 0) {
            throw new InputException(example.source() + ": the prompt gives no token (this tokenizer adds none of its own), so "
                    + "the first token of the completion can't be predicted; give it a prompt");
        }
        if (completion.length == 0) {
            throw new InputException(example.source() + ": the completion gives no token, so there is nothing to learn or to "
                    + "score; remove the line or give it a completion");
        }
        int end = endOfSequence == NONE ? 0 : 1;
        int length = prompt.length + completion.length + end;
        if (length > longest) {
            int special = truncates ? specialsBefore(prompt, example) : 0;
            int room = longest - completion.length - end;
            if (!truncates || room <= special) {
                tooLong.add(example, length);
                return Optional.empty();
            }
            prompt = withoutMiddle(prompt, special, room);
            length = longest;
            tooLong.addCut();
        }
        int[] ids = Arrays.copyOf(prompt, length);
        System.arraycopy(completion, 0, ids, prompt.length, completion.length);
        if (endOfSequence != NONE) {
            ids[length - 1] = endOfSequence;
        }
        requireKnown(ids, example);
        return Optional.of(new EncodedExample(ids, prompt.length));
    }

    private Optional<EncodedExample> conversation(Example example, TooLong tooLong) {
        TokenOffsets tokens;
        try {
            tokens = tokenizer.encodeWithOffsets(example.chat().text());
        } catch (InputException e) {
            throw new InputException(example.source() + ": " + e.getMessage(), e);
        }
        if (tokens.size() > longest) {
            tooLong.add(example, tokens.size());
            return Optional.empty();
        }
        int[] ids = tokens.ids();
        requireKnown(ids, example);
        var trained = new boolean[ids.length];
        for (ChatText.Span turn : example.chat().turns()) {
            tokens.mark(turn.start(), turn.end(), trained);
        }
        try {
            return Optional.of(new EncodedExample(ids, trained));
        } catch (InputException e) {
            throw new InputException(example.source() + ": no token of the assistant's turns can be trained on (" + e.getMessage()
                    + "); remove the example", e);
        }
    }

    private void requireKnown(int[] ids, Example example) {
        for (int id : ids) {
            if (id < 0 || id >= vocabSize) {
                throw new InputException(example.source() + ": token id " + id + " is outside the model's vocabulary of "
                        + vocabSize + "; the tokenizer belongs to another model");
            }
        }
    }

    /** How many special tokens the tokenizer puts before a prompt. */
    private int specialsBefore(int[] prompt, Example example) {
        int[] plain = tokens(example.prompt(), false, example);
        for (int count = 0; count + plain.length <= prompt.length; count++) {
            if (Arrays.equals(prompt, count, count + plain.length, plain, 0, plain.length)) {
                return count;
            }
        }
        return 0; // the special tokens change how the text is split
    }

    /** The first {@code begin} tokens and the last of the others, {@code count} together. */
    private static int[] withoutMiddle(int[] tokens, int begin, int count) {
        int[] kept = Arrays.copyOf(tokens, count);
        System.arraycopy(tokens, tokens.length - (count - begin), kept, begin, count - begin);
        return kept;
    }

    private int[] tokens(String text, boolean addSpecialTokens, Example example) {
        try {
            return tokenizer.encode(text, addSpecialTokens);
        } catch (InputException e) {
            throw new InputException(example.source() + ": " + e.getMessage(), e);
        }
    }
}
