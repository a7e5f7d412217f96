package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.text.TextTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LoadedModelTest {

    @TempDir
    private Path folder;

    /** The weights come after it: where they can't be loaded, it is closed. */
    @Test
    void aLoadThatFailsKeepsNoTokenizer() throws IOException {
        Path model = Cli.copyOfModel(folder);
        Files.write(model.resolve("model.safetensors"), new byte[100]);
        var tokenizer = new AtomicReference<TextTokenizer>();
        assertThatThrownBy(() -> LoadedModel.open(model, null, 1, new DeviceOptions(Backend.CPU, 1), path -> {
            tokenizer.set(TextTokenizer.load(path));
            assertThat(tokenizer.get().encode("a", false)).isNotEmpty();
            return tokenizer.get();
        })).isInstanceOf(InputException.class).hasMessageContaining("model.safetensors");
        assertThatThrownBy(() -> tokenizer.get().encode("a", false)).hasMessageContaining("released");
    }
}
