package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;

import example.TrainAdapter;
import io.metalora.adapter.LoraAdapter;
import io.metalora.run.RunFixture;
import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The public API of module io.metalora alone, as the README shows it. */
class MetaLoraLibraryTest {

    @Test
    void trainsAndSavesAnAdapter(@TempDir Path folder) throws IOException {
        Path adapter = folder.resolve("adapter");

        TrainAdapter.train(Goldens.path("tiny-llama"), RunFixture.tasks(folder.resolve("tasks")), adapter);

        assertThat(adapter.resolve("adapter_config.json")).exists();
        try (var llama = new TinyLlama(); LoraAdapter trained = llama.adapter(adapter);
             LoraAdapter untrained = LoraAdapter.create(llama.device(), trained.layout(), 42)) {
            assertThat(trained.parameters().toFloats()).isNotEqualTo(untrained.parameters().toFloats());
        }
    }

    /** Compiled as another module, which sees what io.metalora exports and nothing else. */
    @Test
    void compilesInAModuleOfItsOwn(@TempDir Path folder) throws IOException {
        Path module = Files.writeString(folder.resolve("module-info.java"), "module example { requires io.metalora; }");
        String dependencies = Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
                .filter(entry -> !entry.contains("jazzer")) // two of its jars share a package
                .collect(Collectors.joining(File.pathSeparator));
        String path = root().resolve("java/core/target/classes") + File.pathSeparator + dependencies;
        var messages = new StringWriter();
        var writer = new PrintWriter(messages, true);
        int code = ToolProvider.findFirst("javac").orElseThrow().run(writer, writer, "--module-path", path,
                "-d", folder.toString(), module.toString(), source().toString());
        assertThat(code).as(messages.toString()).isZero();
        assertThat(folder.resolve("example/TrainAdapter.class")).exists();
    }

    @Test
    void theReadmeShowsThisExample() throws IOException {
        assertThat(Files.readString(root().resolve("README.md"))).contains("```java\n" + Files.readString(source()) + "```\n");
        assertThat(Files.readAllLines(source()).stream().filter(line -> !line.isBlank() && !line.startsWith("import ")))
                .hasSizeLessThanOrEqualTo(30);
    }

    private static Path source() {
        return root().resolve("java/core/src/test/java/example/TrainAdapter.java");
    }

    private static Path root() {
        return Path.of(System.getProperty("basedir", ".")).toAbsolutePath().normalize().getParent().getParent();
    }
}
