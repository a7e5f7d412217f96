package io.metalora.launcher;

import io.metalora.file.AtomicFile;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.concurrent.ThreadLocalRandom;

/**
 * A file that a verb writes: it must not exist, and appears with all its content or not at all. It is written under another name
 * beside it, so that a folder that can't be written to is noticed before the work.
 */
final class NewFile implements AutoCloseable {

    private final Path file;
    private final Path part;
    private final BufferedWriter writer;

    /**
     * @throws InputException       if there is such a file already, or no file can be made at that place
     * @throws UncheckedIOException if making it fails for another reason, such as a full disk
     */
    NewFile(Path file) {
        this.file = file;
        Path folder = file.toAbsolutePath().getParent();
        requireAbsent();
        if (folder == null || !Files.isDirectory(folder)) {
            throw new InputException(file + ": its folder doesn't exist; make it first");
        }
        this.part = folder.resolve(".metalora-" + Long.toHexString(ThreadLocalRandom.current().nextLong()) + ".part");
        part.toFile().deleteOnExit(); // should a signal end the process: before there is one, which it must not leave
        try {
            // Not createTempFile, whose files only their owner may read whatever the umask says.
            this.writer = Files.newBufferedWriter(part, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);
        } catch (IOException e) {
            throw AtomicFile.isRefused(part, e) ? refused(e) : failed(e);
        }
    }

    private void requireAbsent() {
        try {
            Files.readAttributes(file, BasicFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
        } catch (NoSuchFileException e) {
            return;
        } catch (IOException e) { // such as a name that is too long
            throw refused(e);
        }
        throw exists();
    }

    private InputException refused(IOException e) {
        return new InputException(file + ": can't be written: " + FileFailure.reason(e) + "; give another file", e);
    }

    void line(String text) {
        try {
            writer.write(text);
            writer.write('\n');
        } catch (IOException e) {
            throw failed(e);
        }
    }

    /** All is written: the file appears. */
    void finish() {
        try {
            writer.close();
            Files.move(part, file);
        } catch (FileAlreadyExistsException e) {
            throw exists();
        } catch (IOException e) {
            throw failed(e);
        }
    }

    private UncheckedIOException failed(IOException e) {
        return new UncheckedIOException(file + ": can't be written: " + FileFailure.reason(e), e);
    }

    private InputException exists() {
        return new InputException(file + ": already exists, and nothing was written over it; give another file or remove it");
    }

    /** Removes what was written, unless {@link #finish} was called. */
    @Override
    public void close() {
        try {
            writer.close();
        } catch (IOException e) {
            // What was not finished is not missed.
        } finally {
            part.toFile().delete();
        }
    }
}
