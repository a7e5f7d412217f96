package io.metalora.file;

import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Comparator;
import java.util.Optional;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Writes files and folders that are either as before or new and whole, whenever the process or the machine stops: the
 * content goes under a temporary name beside the target, is forced to the disk, and is renamed.
 */
public final class AtomicFile {
    /** A name under which {@link #temporary} has something written. */
    private static final Pattern TEMPORARY = Pattern.compile("\\.(.+)\\.tmp-[0-9a-f]{1,16}");
    /** Bytes of a file's name, on the file systems in use. */
    private static final int LONGEST_NAME = 255;

    private AtomicFile() {}

    /** Writes a file's content to its channel. */
    @FunctionalInterface
    public interface Content {
        void write(FileChannel out) throws IOException;
    }

    /** Writes the files of a folder. */
    @FunctionalInterface
    public interface FolderContent {
        void write(Path folder) throws IOException;
    }

    /** Replaces {@code target} or creates it; its folder must exist. On failure the target is as it was. */
    public static void write(Path target, Content content) {
        Path temporary = temporary(target);
        try {
            try (var out = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                content.write(out);
                out.force(true);
            }
            rename(temporary, target);
        } catch (IOException e) {
            throw failed(target, e);
        } finally {
            deleteLeftover(temporary);
        }
    }

    /** Replaces {@code target} or creates it; its folder must exist. On failure the target is as it was. */
    public static void write(Path target, byte[] content) {
        write(target, out -> writeFully(out, ByteBuffer.wrap(content)));
    }

    /** Creates the folder {@code target}, which must not exist, and the folders above it. On failure it is not there. */
    public static void createFolder(Path target, FolderContent content) {
        Path temporary = temporary(target);
        try {
            Files.createDirectories(target.toAbsolutePath().getParent());
            Files.createDirectory(temporary);
            content.write(temporary);
            rename(temporary, target);
        } catch (IOException e) {
            throw failed(target, e);
        } catch (UncheckedIOException e) {
            throw failed(target, e.getCause()); // of a file in the folder, whose temporary name means nothing to a user
        } finally {
            deleteLeftover(temporary);
        }
    }

    /** Removes from a folder what writes that were killed have left in it. */
    public static void removeLeftovers(Path folder) {
        try (var entries = Files.list(folder)) {
            for (Path leftover : entries.filter(file -> nameToBe(file).isPresent()).toList()) {
                deleteTree(leftover);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(folder + ": can't be cleaned up: " + FileFailure.reason(e), e);
        }
    }

    /** Removes a file or a folder with all in it, if it is there. */
    public static void delete(Path target) {
        try {
            if (Files.exists(target)) {
                deleteTree(target);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(target + ": can't be removed: " + FileFailure.reason(e), e);
        }
    }

    /** A failed write as an exception that names the file and the cause, for a user to read. */
    public static UncheckedIOException failed(Path file, IOException e) {
        return new UncheckedIOException("can't write " + file + ": " + FileFailure.reason(e), e);
    }

    /**
     * Makes a folder, with those above it, where it is not there yet.
     *
     * @param advice what to do where none can be made: "give another --output"
     * @throws InputException       if no folder can be made at that place
     * @throws UncheckedIOException if it fails for another reason, such as a full disk
     */
    public static void makeFolder(Path folder, String advice) {
        try {
            Files.createDirectories(folder);
        } catch (IOException e) {
            if (isRefused(folder, e)) {
                throw new InputException(folder + ": can't be made: " + (e instanceof FileAlreadyExistsException ? "a file is there"
                        : FileFailure.reason(e)) + "; " + advice, e);
            }
            throw failed(folder, e);
        }
    }

    /**
     * Whether a file or folder can't be made or opened for writing because of the place that was chosen: no permission, read-only,
     * below a file, where something else is, or a name that is too long. Else it failed, of a full disk say. The file system is
     * asked, since what it says depends on the user's language.
     */
    public static boolean isRefused(Path target, IOException e) {
        // "No such file", of one that is to be made: a folder above is gone, or holds what the system shows, as /proc does.
        if (e instanceof AccessDeniedException || e instanceof FileAlreadyExistsException || e instanceof NoSuchFileException) {
            return true;
        }
        if (RegularFile.isNamed(target) && !Files.exists(target)) { // a link that leads nowhere, or in a circle
            return true;
        }
        Path absolute = target.toAbsolutePath();
        Path there = absolute;
        for (; !Files.exists(there) && there.getParent() != null; there = there.getParent()) {
            if (there.getFileName().toString().getBytes(StandardCharsets.UTF_8).length > LONGEST_NAME) {
                return true;
            }
        }
        return !Files.isWritable(there) || !(there.equals(absolute) ? Files.isRegularFile(there) : Files.isDirectory(there));
    }

    /** The name that a file will get if it was written here and not renamed yet, a long one cut short; empty for any other file. */
    public static Optional<String> nameToBe(Path file) {
        return Optional.of(TEMPORARY.matcher(file.getFileName().toString())).filter(Matcher::matches).map(name -> name.group(1));
    }

    public static void writeFully(FileChannel out, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            out.write(bytes);
        }
    }

    /** A name which fits where the target's does. */
    private static Path temporary(Path target) {
        String mark = ".tmp-" + Long.toHexString(ThreadLocalRandom.current().nextLong());
        String name = "." + target.getFileName();
        while ((name + mark).getBytes(StandardCharsets.UTF_8).length > LONGEST_NAME) {
            name = name.substring(0, name.offsetByCodePoints(name.length(), -1));
        }
        return target.resolveSibling(name + mark);
    }

    /** A rename is on the disk when the folder it happens in is. */
    private static void rename(Path from, Path to) throws IOException {
        Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
        if (System.getProperty("os.name").startsWith("Windows")) {
            return; // folders can't be opened there
        }
        try (var folder = FileChannel.open(to.toAbsolutePath().getParent(), StandardOpenOption.READ)) {
            folder.force(true);
        }
    }

    /** After a successful rename there is nothing to delete. */
    private static void deleteLeftover(Path temporary) {
        if (!Files.exists(temporary)) {
            return;
        }
        try {
            deleteTree(temporary);
        } catch (IOException e) {
            // The failure that left it behind is the one to report.
        }
    }

    private static void deleteTree(Path root) throws IOException {
        try (var files = Files.walk(root)) {
            for (Path f : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(f);
            }
        }
    }
}
