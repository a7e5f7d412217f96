package io.metalora.config;

import io.metalora.file.JsonText;
import io.metalora.runtime.InputException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The text of a configuration: of a file, or of what can be read only once, such as a pipe. */
final class ConfigFile {

    /** Thousands of task names take less. */
    private static final int LARGEST = 4 << 20;

    private ConfigFile() {
    }

    /**
     * Reads it as UTF-8, without a byte order mark.
     *
     * @throws InputException if it is missing, too large or not UTF-8
     */
    static String read(Path file) {
        if (Files.isDirectory(file)) {
            throw new InputException(file + ": is a folder; give the YAML file of a training run");
        }
        if (Files.notExists(file)) {
            throw new InputException(file + ": no such file; give the YAML file of a training run");
        }
        byte[] bytes = JsonText.readAny(file, LARGEST, "a configuration");
        return new String(JsonText.utf8(file.toString(), bytes), StandardCharsets.UTF_8);
    }
}
