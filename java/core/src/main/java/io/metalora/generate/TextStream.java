package io.metalora.generate;

import io.metalora.text.TextTokenizer;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * The text of a continuation as its tokens come. It is that of prompt and tokens together, less the prompt's, since some
 * tokenizers drop a space at a text's beginning. Bytes of an unfinished character are held back until the rest of it comes, and
 * so is text that may become a stop string.
 */
final class TextStream {

    private static final char REPLACEMENT = '\uFFFD';

    private final TextTokenizer tokenizer;
    private final List<String> stops;
    private final Consumer<String> listener; // null: nobody listens
    private final int begin; // of the continuation in the text
    private int[] ids;
    private int count;
    private int shown;
    private int stop = -1; // where a stop string begins

    TextStream(TextTokenizer tokenizer, int[] prompt, List<String> stops, Consumer<String> listener) {
        this.tokenizer = tokenizer;
        this.stops = stops;
        this.listener = listener;
        this.ids = prompt.clone();
        this.count = prompt.length;
        this.begin = text().length();
        this.shown = begin;
    }

    /** Takes the next token; false once a stop string has come. */
    boolean accept(int token) {
        if (count == ids.length) {
            ids = Arrays.copyOf(ids, count + Math.max(16, count / 2));
        }
        ids[count++] = token;
        if (listener == null && stops.isEmpty()) {
            return true;
        }
        String text = text();
        stop = firstStop(text);
        if (stop >= 0) {
            show(text, stop);
            return false;
        }
        int end = text.length();
        while (end > shown && text.charAt(end - 1) == REPLACEMENT) {
            end--;
        }
        show(text, beforeBegunStop(text, end));
        return true;
    }

    /** Shows what is left; the whole continuation. */
    String finish() {
        String text = text();
        int end = stop >= 0 ? stop : text.length();
        show(text, end);
        return text.substring(Math.min(begin, end), end);
    }

    private String text() {
        return tokenizer.decode(Arrays.copyOf(ids, count), true);
    }

    private int firstStop(String text) {
        return stops.stream().mapToInt(s -> text.indexOf(s, shown)).filter(at -> at >= 0).min().orElse(-1);
    }

    /** Where the end of a text begins that may be the beginning of a stop string. */
    private int beforeBegunStop(String text, int end) {
        for (int at = shown; at < end; at++) {
            for (String s : stops) {
                if (s.regionMatches(0, text, at, end - at)) {
                    return at;
                }
            }
        }
        return end;
    }

    private void show(String text, int end) {
        if (end > shown) {
            if (listener != null) {
                listener.accept(text.substring(shown, end));
            }
            shown = end;
        }
    }
}
