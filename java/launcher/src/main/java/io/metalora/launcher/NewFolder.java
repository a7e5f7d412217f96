package io.metalora.launcher;

import io.metalora.file.AtomicFile;
import io.metalora.file.RegularFile;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The folder that --output names: it must not exist, and of several verbs that begin at once one makes it. */
final class NewFolder {

    private static final String ADVICE = "give another --output";

    private NewFolder() {
    }

    /** For a verb that makes it later, after work that would be lost. */
    static void requireAbsent(Path folder) {
        if (RegularFile.isNamed(folder)) {
            throw exists(folder);
        }
    }

    /**
     * Makes it, with those above it.
     *
     * @throws InputException       if it is there by now, or no folder can be made at that place
     * @throws UncheckedIOException if it fails for another reason, such as a full disk
     */
    static void make(Path folder) {
        AtomicFile.makeFolder(folder.toAbsolutePath().getParent(), ADVICE);
        try {
            Files.createDirectory(folder);
        } catch (FileAlreadyExistsException e) {
            throw exists(folder);
        } catch (IOException e) {
            if (AtomicFile.isRefused(folder, e)) {
                throw new InputException(folder + ": can't be made: " + FileFailure.reason(e) + "; " + ADVICE, e);
            }
            throw AtomicFile.failed(folder, e);
        }
    }

    private static InputException exists(Path folder) {
        return new InputException(folder + ": already exists, and nothing was written over it; " + ADVICE + " or remove it");
    }
}
