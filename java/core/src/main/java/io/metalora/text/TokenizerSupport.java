package io.metalora.text;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * The tokenizers library as it runs here.
 *
 * @param version  that of tokenizers and that of DJL, as {@code 0.21.0-0.38.0}
 * @param file     the native library; null where one of DJL's own settings says where it is
 * @param untried  why a tokenizer.json that was never seen is only checked, not tried in a process of its own; null where it
 *                 is tried
 */
public record TokenizerSupport(String version, Path file, String untried) {

    private static final String SMALLEST = """
            {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}""";

    /**
     * Loads the library and uses it.
     *
     * @throws IllegalStateException if it can't be loaded; the message says why, and what to do
     */
    public static TokenizerSupport check() {
        try (var tokenizer = TokenizerLibrary.open(SMALLEST.getBytes(StandardCharsets.UTF_8))) {
            String text = tokenizer.decode(tokenizer.encode("a", true, false).getIds(), false);
            if (!text.equals("a")) {
                throw new IllegalStateException("the tokenizers library gives \"" + text + "\" for \"a\"; name another with RUST_LIBRARY_PATH");
            }
        }
        return new TokenizerSupport(TokenizerLibrary.version(), TokenizerLibrary.file(), TokenizerTrial.unavailable().orElse(null));
    }
}
