package io.metalora.file;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;

/** The system's locks on files, by which processes keep out of each other's way. */
public final class FileLocks {

    private FileLocks() {
    }

    /** Takes the lock of a file, which goes with the channel, or with the process; false if somebody has it, here or elsewhere. */
    public static boolean take(FileChannel channel) throws IOException {
        try {
            return channel.tryLock() != null;
        } catch (OverlappingFileLockException e) {
            return false;
        }
    }
}
