package io.metalora.file;

import java.util.Collection;
import java.util.stream.Collectors;

/** Text of a user's file as a message shows it: in quotes, in one line, not too long. */
public final class Shown {

    private static final int LONGEST = 120;

    private Shown() {
    }

    public static String quoted(String text) {
        return "\"" + plain(text) + "\"";
    }

    /** Without the quotes. */
    public static String plain(String text) {
        var shown = new StringBuilder();
        for (int i = 0; i < text.length(); ) {
            int point = text.codePointAt(i);
            i += Character.charCount(point);
            if (shown.length() >= LONGEST) {
                return shown.append("...").toString();
            }
            if (isUnseen(point)) {
                shown.append(String.format("\\u%04x", point));
            } else {
                shown.appendCodePoint(point);
            }
        }
        return shown.toString();
    }

    /** All of a text, in its lines: nothing in it moves the cursor or colours the terminal. */
    public static String lines(String text) {
        var shown = new StringBuilder();
        text.codePoints().forEach(point -> {
            if (point == '\n' || !isUnseen(point)) {
                shown.appendCodePoint(point);
            } else {
                shown.append(String.format("\\u%04x", point));
            }
        });
        return shown.toString();
    }

    private static boolean isUnseen(int point) {
        return switch (Character.getType(point)) {
            case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> true;
            default -> false;
        };
    }

    /** Names in a list, at most so many of them, and how many more there are. */
    public static String first(Collection<String> names, int most) {
        return names.stream().limit(most).collect(Collectors.joining(", ")) + (names.size() > most ? " and " + (names.size() - most) + " more" : "");
    }
}
