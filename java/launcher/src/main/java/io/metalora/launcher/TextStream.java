package io.metalora.launcher;

import io.metalora.text.TextTokenizer;
import java.io.PrintWriter;
import java.util.Arrays;
import java.util.function.IntConsumer;

/**
 * Prints tokens as text as they come. The text is that of prompt and tokens together, less the prompt's, since some
 * tokenizers drop a space at a text's beginning; bytes of an unfinished character wait for the rest of it.
 */
final class TextStream implements IntConsumer {

    private static final char REPLACEMENT = '\uFFFD';

    private final TextTokenizer tokenizer;
    private final PrintWriter out;
    private int[] ids;
    private int shown;

    TextStream(TextTokenizer tokenizer, int[] prompt, PrintWriter out) {
        this.tokenizer = tokenizer;
        this.out = out;
        this.ids = prompt.clone();
        this.shown = text().length();
    }

    @Override
    public void accept(int token) {
        ids = Arrays.copyOf(ids, ids.length + 1);
        ids[ids.length - 1] = token;
        String text = text();
        int end = text.length();
        while (end > shown && text.charAt(end - 1) == REPLACEMENT) {
            end--;
        }
        show(text, end);
    }

    /** Prints what is left and ends the line. */
    void finish() {
        String text = text();
        show(text, text.length());
        out.println();
    }

    private String text() {
        return tokenizer.decode(ids, true);
    }

    private void show(String text, int end) {
        if (end > shown) {
            out.print(text.substring(shown, end));
            out.flush();
            shown = end;
        }
    }
}
