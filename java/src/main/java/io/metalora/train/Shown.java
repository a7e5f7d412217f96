package io.metalora.train;

/** Text of a user's file as a message shows it: in quotes, in one line, not too long. */
final class Shown {

    private static final int LONGEST = 120;

    private Shown() {
    }

    static String quoted(String text) {
        return "\"" + plain(text) + "\"";
    }

    /** Without the quotes. */
    static String plain(String text) {
        var shown = new StringBuilder();
        for (int i = 0; i < text.length(); ) {
            int point = text.codePointAt(i);
            i += Character.charCount(point);
            if (shown.length() >= LONGEST) {
                return shown.append("...").toString();
            }
            switch (Character.getType(point)) {
                case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR ->
                        shown.append(String.format("\\u%04x", point));
                default -> shown.appendCodePoint(point);
            }
        }
        return shown.toString();
    }
}
