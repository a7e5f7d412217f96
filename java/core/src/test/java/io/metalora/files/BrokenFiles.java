package io.metalora.files;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/** Broken files, and what a reader is to say of each: one line that names it, in the words of the format, not of a library. */
public final class BrokenFiles {

    /** Names of classes, packages and settings of Java's, of the JSON library's and of this one's. */
    private static final Pattern INSIDES = Pattern.compile("[Jj]ackson|fasterxml|\\bcom\\.|\\bjava\\.|io\\.metalora|\\[Source|REDACTED|reference chain"
            + "|`|Feature|starting at \\)|allowed \\([0-9]+[^0-9)]|StreamRead|Constraints|[a-z]Exception|[a-z]Error\\b|JsonNode|JsonToken|VALUE_|START_OBJECT|\tat ");
    private static final int LONGEST = 700;

    /** Reads the file in a folder. */
    public interface Reader {
        void read(Path folder) throws IOException;
    }

    private BrokenFiles() {
    }

    /**
     * Has a reader read all of them.
     *
     * @param name  of the file
     * @param least how many are to be refused
     */
    public static void check(Path folder, String name, int least, Reader reader) throws IOException {
        int refused = 0;
        for (var entry : broken().entrySet()) {
            Path file = Files.write(Files.createDirectories(folder.resolve(name)).resolve(name), entry.getValue());
            try {
                reader.read(file.getParent());
            } catch (InputException e) {
                refused++;
                assertThat(e.getMessage()).as(entry.getKey()).contains(file.getParent().toString()).doesNotContain("\n").hasSizeLessThan(LONGEST);
                String said = e.getMessage().replace(entry.getKey(), "");
                if (!entry.getKey().contains("back") && !entry.getKey().contains("com.")) {
                    assertThat(said).as(entry.getKey()).doesNotContainPattern(INSIDES);
                }
            } catch (RuntimeException | Error e) {
                fail(name + " of " + entry.getKey() + " gives " + e, e);
            }
        }
        assertThat(refused).isGreaterThan(least);
    }

    private static Map<String, byte[]> broken() {
        var broken = new TreeMap<String, byte[]>();
        var values = new ArrayList<>(List.of("", "nul", "'a'", "\"\\x\"", "\"\\ud800\"", "\"\\u12\"", "\"a\nb\"", "01", "1.", ".5", "+1", "NaN",
                "-Infinity", "1e99999", "9".repeat(2000), "-", "[1,]", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{\"a\":1,\"a\":2}", "/* c */ 1",
                "\"unterminated", "[", "{", "1} {\"b\":2", "\"\0\"", "[".repeat(2000) + "]".repeat(2000),
                "{\"a\":".repeat(2000) + "1" + "}".repeat(2000), "{\"" + "n".repeat(60_000) + "\":1}", "`back`", "com.example.Type"));
        for (String value : values) {
            String name = value.length() <= 20 ? value : value.substring(0, 12) + "... of " + value.length();
            broken.put("a key with " + name, ("{\"model_type\": " + value + "}").getBytes(StandardCharsets.UTF_8));
            broken.put(name, value.getBytes(StandardCharsets.UTF_8));
        }
        for (Charset charset : List.of(StandardCharsets.UTF_16, StandardCharsets.UTF_16LE, StandardCharsets.UTF_16BE, Charset.forName("UTF-32"),
                StandardCharsets.ISO_8859_1)) {
            broken.put(charset.name(), "{\"model_type\": \"\u00e9\"}".getBytes(charset));
        }
        broken.put("zip", "PK\3\4 and so on".getBytes(StandardCharsets.UTF_8));
        broken.put("gguf", "GGUF and so on".getBytes(StandardCharsets.UTF_8));
        broken.put("web page", "<!DOCTYPE html><html>404</html>".getBytes(StandardCharsets.UTF_8));
        broken.put("zeros", new byte[100]);
        return broken;
    }
}
