package io.metalora;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The README shows the sources that java/consumer runs, which links the core alone. */
class ReadmeTest {

    private static final Path REPOSITORY = Path.of("../..");

    @ParameterizedTest
    @ValueSource(strings = {"TrainAdapter", "GenerateText"})
    void showsAnExampleThatRuns(String name) throws IOException {
        Path source = REPOSITORY.resolve("java/consumer/src/main/java/example/" + name + ".java");
        assertThat(Files.readString(REPOSITORY.resolve("README.md"))).contains("```java\n" + Files.readString(source) + "```\n");
        assertThat(Files.readAllLines(source).stream().filter(line -> !line.isBlank() && !line.startsWith("import ")))
                .hasSizeLessThanOrEqualTo(30);
    }
}
