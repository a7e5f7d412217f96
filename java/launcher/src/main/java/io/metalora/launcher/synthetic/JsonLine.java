package io.metalora.launcher.synthetic;

/** Samples as lines of JSON. The generator's texts have no control characters, so two escapes are enough. */
final class JsonLine {

    private JsonLine() {}

    static String of(Sample sample) {
        return "{\"prompt\": \"" + escaped(sample.prompt()) + "\", \"completion\": \"" + escaped(sample.completion()) + "\"}\n";
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\"", "\\\"");
    }
}
