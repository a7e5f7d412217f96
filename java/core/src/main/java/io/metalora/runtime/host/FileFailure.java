package io.metalora.runtime.host;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystemLoopException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;

/** What went wrong with a file, for a user to read. */
public final class FileFailure {

    private FileFailure() {
    }

    /**
     * Why reading or writing failed, in words: the system's own where it has some. Without the file's name, which is all that
     * some of Java's messages are.
     */
    public static String reason(IOException e) {
        return switch (e) {
            case AccessDeniedException denied -> "access denied (check its permissions)";
            case NoSuchFileException none -> "no such file or folder";
            case FileAlreadyExistsException there -> "already exists";
            case NotDirectoryException none -> "is not a folder";
            case DirectoryNotEmptyException full -> "is not empty";
            case FileSystemLoopException loop -> "its links lead in a circle";
            case FileSystemException failure when failure.getReason() != null -> failure.getReason();
            case FileSystemException failure -> "the file system refuses it";
            default -> e.getMessage() == null ? "input or output failed" : e.getMessage();
        };
    }
}
