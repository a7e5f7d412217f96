package io.metalora;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The promises of docs/reliability.md name tests that there are. */
class ReliabilityTest {

    private static final Path REPOSITORY = Path.of("../..").toAbsolutePath().normalize();
    private static final Pattern JAVA_TEST = Pattern.compile("`(\\w+Test)(?:\\.(\\w+))?`");
    private static final Pattern NATIVE_TEST = Pattern.compile("`(native/test/\\w+\\.cpp)`");

    @Test
    void thePageNamesTestsThatAreThere() throws IOException {
        String page = Files.readString(REPOSITORY.resolve("docs/reliability.md"));
        int named = 0;
        for (var match : JAVA_TEST.matcher(page).results().toList()) {
            String test = source(match.group(1));
            if (match.group(2) != null) {
                assertThat(test).as(match.group(1)).contains("void " + match.group(2) + "(");
            }
            named++;
        }
        for (var match : NATIVE_TEST.matcher(page).results().toList()) {
            assertThat(REPOSITORY.resolve(match.group(1))).exists();
            named++;
        }
        assertThat(named).isGreaterThan(20);
    }

    private static String source(String name) throws IOException {
        try (var files = Files.walk(REPOSITORY.resolve("java"))) {
            return Files.readString(files.filter(file -> file.getFileName().toString().equals(name + ".java")).findFirst()
                    .orElseThrow(() -> new AssertionError("there is no test " + name)));
        }
    }
}
