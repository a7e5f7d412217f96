package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.task.EncodedExample;
import io.metalora.task.Example;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * An example as the model sees it, in spans of tokens that carry loss and of tokens that carry none.
 *
 * @param source  where it stands, {@code file:line}
 * @param tokens  its length
 * @param trained how many of them carry loss
 * @param spans   all of it, in order
 */
@JsonPropertyOrder({"source", "tokens", "trained", "spans"})
record EncodedPreview(String source, int tokens, int trained, List<Span> spans) {

    /**
     * @param trained whether its tokens carry loss
     * @param text    what the tokens decode to, special ones included
     */
    @JsonPropertyOrder({"trained", "text", "ids"})
    record Span(boolean trained, String text, List<Integer> ids) {
    }

    static EncodedPreview of(Example example, EncodedExample encoded, TextTokenizer tokenizer) {
        int[] ids = encoded.ids();
        var spans = new ArrayList<Span>();
        String before = "";
        for (int start = 0, end; start < ids.length; start = end) {
            boolean trained = encoded.isTrained(start);
            for (end = start + 1; end < ids.length && encoded.isTrained(end) == trained; end++) {
            }
            // Decoded alone, a span would lose the space it begins with in tokenizers that put one before every text.
            String upTo = tokenizer.decode(Arrays.copyOf(ids, end), false);
            int[] own = Arrays.copyOfRange(ids, start, end);
            spans.add(new Span(trained, upTo.startsWith(before) ? upTo.substring(before.length()) : tokenizer.decode(own, false),
                    Arrays.stream(own).boxed().toList()));
            before = upTo;
        }
        return new EncodedPreview(example.source(), ids.length, encoded.lossTokens(), spans);
    }
}
