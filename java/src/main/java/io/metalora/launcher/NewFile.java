package io.metalora.launcher;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A file that a verb is to write: it must not exist, and appears with all its content or not at all. */
final class NewFile {

    private final Path file;

    /**
     * @throws InputException if there is such a file already, or no folder to put it in
     */
    NewFile(Path file) {
        this.file = file;
        Path folder = file.toAbsolutePath().getParent();
        if (Files.exists(file)) {
            throw exists();
        }
        if (folder == null || !Files.isDirectory(folder)) {
            throw new InputException(file + ": its folder doesn't exist; make it first");
        }
    }

    void write(String text) throws IOException {
        Path part = Files.createTempFile(file.toAbsolutePath().getParent(), "." + file.getFileName(), ".part");
        try {
            Files.writeString(part, text);
            Files.move(part, file);
        } catch (FileAlreadyExistsException e) {
            throw exists();
        } finally {
            Files.deleteIfExists(part);
        }
    }

    private InputException exists() {
        return new InputException(file + ": already exists, and nothing was written over it; give another file or remove it");
    }
}
