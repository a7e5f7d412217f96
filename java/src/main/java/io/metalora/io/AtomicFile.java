package io.metalora.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Writes files that are either the old or the new content, whole, whenever the process or the machine stops: to a
 * temporary file beside the target, forced to the disk, renamed over the target.
 */
public final class AtomicFile {
    private AtomicFile() {}

    /** Writes a file's content to its channel. */
    @FunctionalInterface
    public interface Content {
        void write(FileChannel out) throws IOException;
    }

    /** Replaces {@code target} or creates it; its folder must exist. On failure the target is as it was. */
    public static void write(Path target, Content content) {
        Path temporary = target.resolveSibling("." + target.getFileName() + ".tmp-"
                + Long.toHexString(ThreadLocalRandom.current().nextLong()));
        try {
            try (var out = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                content.write(out);
                out.force(true);
            }
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
            forceFolder(target);
        } catch (IOException e) {
            throw new UncheckedIOException("can't write " + target + ": " + e, e);
        } finally {
            deleteLeftover(temporary);
        }
    }

    /** Replaces {@code target} or creates it; its folder must exist. On failure the target is as it was. */
    public static void write(Path target, byte[] content) {
        write(target, out -> writeFully(out, ByteBuffer.wrap(content)));
    }

    static void writeFully(FileChannel out, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            out.write(bytes);
        }
    }

    /** The rename itself is on the disk only when the folder is. */
    private static void forceFolder(Path target) throws IOException {
        if (System.getProperty("os.name").startsWith("Windows")) {
            return; // folders can't be opened there
        }
        try (var folder = FileChannel.open(target.toAbsolutePath().getParent(), StandardOpenOption.READ)) {
            folder.force(true);
        }
    }

    /** After a successful rename there is nothing to delete. */
    private static void deleteLeftover(Path temporary) {
        try {
            Files.deleteIfExists(temporary);
        } catch (IOException e) {
            // The failure that left it behind is the one to report.
        }
    }
}
