package io.metalora.train;

import static org.assertj.core.api.Assertions.assertThat;

// library example: begin
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Device;
import io.metalora.task.EncodedTask;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
// library example: pause
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The public API of module io.metalora alone, as the README shows it. */
class MetaLoraLibraryTest {

    // library example: resume
    static void train(Path modelFolder, Path taskFolder, Path adapterFolder) {
        var config = TrainConfig.of("adapter.rank=4", "meta.iterations=3", "meta.tasks_per_iteration=3",
                "meta.support_size=4", "meta.query_size=4", "meta.inner_steps=2", "optimizer.lr=5e-3");
        try (var device = Device.cpu();
             var model = CausalLM.load(modelFolder, device, LoadOptions.defaults());
             var tokenizer = TextTokenizer.load(modelFolder);
             var adapter = LoraAdapter.create(device, new LoraLayout(model.config(), config.adapter().lora()), 42)) {
            var encoder = ExampleEncoder.forTraining(tokenizer, model.config());
            var tasks = EncodedTask.encode(TaskFolder.read(taskFolder), encoder, 50, config.seed());
            try (var training = new MetaLora(model, adapter, tasks, config)) {
                while (training.done() < training.total()) {
                    System.out.printf("query loss %.3f%n", training.iterate().loss());
                }
            }
            adapter.save(adapterFolder, modelFolder.toString());
        }
    }
    // library example: end

    @Test
    void trainsAndSavesAnAdapter(@TempDir Path folder) throws IOException {
        Path adapter = folder.resolve("adapter");

        train(Goldens.path("tiny-llama"), RunFixture.tasks(folder.resolve("tasks")), adapter);

        assertThat(adapter.resolve("adapter_config.json")).exists();
        try (var llama = new TinyLlama(); LoraAdapter trained = llama.adapter(adapter);
             LoraAdapter untrained = LoraAdapter.create(llama.device(), trained.layout(), 42)) {
            assertThat(trained.parameters().toFloats()).isNotEqualTo(untrained.parameters().toFloats());
        }
    }

    /** What a program outside the module would see: only exported packages. */
    @Test
    void usesExportedPackagesOnly() throws IOException {
        String module = Files.readString(root().resolve("java/src/main/java/module-info.java"));
        List<String> imports = example().lines().filter(line -> line.startsWith("import io.metalora."))
                .map(line -> line.substring("import ".length(), line.lastIndexOf('.'))).distinct().toList();

        assertThat(imports).hasSizeGreaterThan(3).allSatisfy(name -> assertThat(module).contains("exports " + name + ";"));
        assertThat(module).contains("exports io.metalora.train;");
    }

    @Test
    void theReadmeShowsThisExample() throws IOException {
        assertThat(Files.readString(root().resolve("README.md"))).contains("```java\n" + example() + "```\n");
    }

    /** The lines between this file's markers, with what the README's reader needs besides: this package's import. */
    private static String example() throws IOException {
        var lines = new ArrayList<String>();
        boolean inside = false;
        for (String line : Files.readAllLines(root().resolve("java/src/test/java/io/metalora/train/MetaLoraLibraryTest.java"))) {
            String text = line.strip();
            if (text.startsWith("// library example: ")) {
                inside = text.endsWith(": begin") || text.endsWith(": resume");
                if (text.endsWith(": pause")) {
                    lines.add("import io.metalora.train.MetaLora;");
                    lines.add("import io.metalora.train.TrainConfig;");
                    lines.add("import java.nio.file.Path;");
                    lines.add("");
                }
            } else if (inside) {
                lines.add(line.startsWith("    ") ? line.substring(4) : line);
            }
        }
        return lines.stream().collect(Collectors.joining("\n", "", "\n"));
    }

    private static Path root() {
        return Path.of(System.getProperty("basedir", ".")).toAbsolutePath().normalize().getParent();
    }
}
