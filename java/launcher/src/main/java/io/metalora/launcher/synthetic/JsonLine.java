package io.metalora.launcher.synthetic;

/** Samples as lines of JSON (RFC 8259, section 7), in one form: what must be escaped is, and nothing else. */
final class JsonLine {

    private JsonLine() {}

    static String of(Sample sample) {
        return "{\"prompt\": \"" + escaped(sample.prompt()) + "\", \"completion\": \"" + escaped(sample.completion()) + "\"}\n";
    }

    private static String escaped(String text) {
        var out = new StringBuilder(text.length());
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ') {
                out.append("\\u%04x".formatted((int) c));
            } else {
                out.append(c);
            }
        }
        return out.toString();
    }
}
