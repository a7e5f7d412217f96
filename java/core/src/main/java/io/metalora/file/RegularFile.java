package io.metalora.file;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;

/**
 * Files that are found by their name, as those of a model, an adapter or a run. A pipe in their place would be waited for without
 * end, and a device may have none: both are refused.
 */
public final class RegularFile {

    private RegularFile() {
    }

    /** Whether something has that name, be it a link that leads nowhere: that is damage, not a file which was left out. */
    public static boolean isNamed(Path file) {
        return Files.exists(file, LinkOption.NOFOLLOW_LINKS);
    }

    /**
     * For a file that is to be read, replaced or appended to, and need not be there: what can't be is better said before the work.
     *
     * @param whose  such as "the run"
     * @param advice what to do but moving it away
     * @throws InputException if a folder, a pipe, a device or a link that leads nowhere has its name
     */
    public static void requireNothingElse(Path file, String whose, String advice) {
        if (isNamed(file) && !Files.isRegularFile(file)) {
            String what = !Files.exists(file) ? "a link that leads nowhere" : Files.isDirectory(file) ? "a folder" : "a pipe or a device";
            throw new InputException(file + ": is " + what + " where " + whose + " has a file; move it away, or " + advice
                    + ". Nothing was changed");
        }
    }

    /** Opens a file for reading; fails with a reason in words where it is a folder, a pipe or a device. */
    public static InputStream open(Path file) throws IOException {
        require(file);
        return Files.newInputStream(file);
    }

    /** Fails with a reason in words where something else than a file is there, or nothing. */
    public static void require(Path file) throws IOException {
        var attributes = Files.readAttributes(file, BasicFileAttributes.class);
        if (!attributes.isRegularFile()) {
            throw new FileSystemException(file.toString(), null,
                    attributes.isDirectory() ? "it is a folder" : "it is a pipe or a device, not a file");
        }
    }
}
