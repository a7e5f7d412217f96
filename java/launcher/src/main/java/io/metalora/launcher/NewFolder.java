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

    /** Writes what a verb begins with. */
    @FunctionalInterface
    interface Content<T> {

        /** Returns what the verb continues with. */
        T write() throws IOException;
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

    /**
     * Makes it and puts into it what a verb begins with.
     *
     * @return what {@code content} gives
     * @throws IOException that of {@code content}, as whatever else it throws; the folder is gone then, and the same command
     *                     may be given again
     */
    static <T> T make(Path folder, Content<T> content) throws IOException {
        make(folder);
        try {
            return content.write();
        } catch (IOException | RuntimeException e) {
            try {
                AtomicFile.delete(folder);
            } catch (UncheckedIOException other) {
                e.addSuppressed(other);
            }
            throw e;
        }
    }

    /** Removes the folder that {@link #make(Path)} made, where nothing came into it: the same command may be given again then. */
    static void removeIfEmpty(Path folder) {
        try {
            Files.deleteIfExists(folder);
        } catch (IOException e) {
            // It holds something, which is kept; or else whatever failed before is the failure to report.
        }
    }

    private static InputException exists(Path folder) {
        return new InputException(folder + ": already exists, and nothing was written over it; " + ADVICE + " or remove it");
    }
}
