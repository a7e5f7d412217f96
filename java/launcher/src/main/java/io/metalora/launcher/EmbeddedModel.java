package io.metalora.launcher;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The small base model that comes in the jar. */
final class EmbeddedModel {

    private static final String FOLDER = "/models/tiny/";
    private static final List<String> FILES = List.of("config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
            "tokenizer_config.json");

    private EmbeddedModel() {
    }

    /** Copies it to a folder that is there, in Hugging Face form. */
    static void copyTo(Path folder) {
        for (String file : FILES) {
            try (InputStream in = EmbeddedModel.class.getResourceAsStream(FOLDER + file)) {
                if (in == null) {
                    throw new IllegalStateException("the embedded model's " + file + " is not in the jar; build it again");
                }
                Files.copy(in, folder.resolve(file));
            } catch (IOException e) {
                throw new UncheckedIOException(folder.resolve(file) + ": can't be written", e);
            }
        }
    }
}
