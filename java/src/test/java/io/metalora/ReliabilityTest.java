package io.metalora;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The promises of docs/reliability.md name tests that there are. */
class ReliabilityTest {

    private static final Path REPOSITORY = Path.of("..").toAbsolutePath().normalize();
    private static final Pattern JAVA_TEST = Pattern.compile("`(\\w+Test)(?:\\.(\\w+))?`");
    private static final Pattern NATIVE_TEST = Pattern.compile("`(native/test/\\w+\\.cpp)`");

    @Test
    void thePageNamesTestsThatAreThere() throws IOException {
        String page = Files.readString(REPOSITORY.resolve("docs/reliability.md"));
        int named = 0;
        for (var match : JAVA_TEST.matcher(page).results().toList()) {
            Class<?> test = find(match.group(1));
            String method = match.group(2);
            if (method != null) {
                assertThat(Arrays.stream(test.getDeclaredMethods()).map(m -> m.getName())).as(test.toString()).contains(method);
            }
            named++;
        }
        for (var match : NATIVE_TEST.matcher(page).results().toList()) {
            assertThat(REPOSITORY.resolve(match.group(1))).exists();
            named++;
        }
        assertThat(named).isGreaterThan(20);
    }

    private static Class<?> find(String name) throws IOException {
        Path classes = Path.of("target/test-classes");
        try (var files = Files.walk(classes)) {
            Path file = files.filter(f -> f.getFileName().toString().equals(name + ".class")).findFirst()
                    .orElseThrow(() -> new AssertionError("there is no test " + name));
            return Class.forName(classes.relativize(file).toString().replace('/', '.').replaceFirst("\\.class$", ""), false,
                    ReliabilityTest.class.getClassLoader());
        } catch (ClassNotFoundException e) {
            throw new AssertionError(e);
        }
    }
}
