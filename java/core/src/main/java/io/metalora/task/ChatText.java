package io.metalora.task;

import java.util.List;
import java.util.Objects;

/**
 * A conversation as its model's chat template writes it.
 *
 * @param text  with all special tokens in it
 * @param turns of the assistant, in order: the stretches of the text that are trained on
 * @param asked what is said before the last of them, role by role and without the template, which may write the date or a
 *              setting: the same in every reading of the file
 */
public record ChatText(String text, List<Span> turns, String asked) {

    /**
     * @param start index of the first character
     * @param end   index after the last one
     */
    public record Span(int start, int end) {
        public Span {
            if (start < 0 || end <= start) {
                throw new IllegalArgumentException("a stretch from " + start + " to " + end);
            }
        }
    }

    public ChatText {
        Objects.requireNonNull(text, "text");
        turns = List.copyOf(turns);
        Objects.requireNonNull(asked, "asked");
    }
}
