package io.metalora.task;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Counts the Java heap that examples take, since all of a folder are held at once: a message is better than running out of memory
 * later. They may take a quarter: beside the texts their ids are held, four bytes a token, and all else that a run needs.
 */
final class HeapShare {

    /** Of an example beside its characters: the record, three strings with their arrays, and its place in the list. */
    private static final int OVERHEAD = 176;

    private final long limit;
    private long taken;

    HeapShare() {
        this(Runtime.getRuntime().maxMemory() / 4);
    }

    /** @param limit bytes */
    HeapShare(long limit) {
        this.limit = limit;
    }

    void add(Example example, Path file, int line) {
        taken += OVERHEAD + bytes(example.prompt()) + bytes(example.completion()) + bytes(example.source())
                + (example.chat() == null ? 0 : OVERHEAD + bytes(example.chat().text()));
        if (taken > limit) {
            long size = size(file);
            throw new InputException(file + ":" + line + ": the examples up to here take more than " + (limit >> 20) + " MiB, a quarter of the Java heap"
                    + " (the file has " + (size >> 20) + " MiB), and those of all tasks are held at once. Give Java more, as with"
                    + " JAVA_TOOL_OPTIONS=-Xmx" + advisedGigabytes(size) + "g, keep fewer of them, as with 'shuf -n 100000', or choose fewer"
                    + " tasks with data.names");
        }
    }

    private long advisedGigabytes(long fileSize) {
        return (Math.max(8 * limit, 8 * fileSize) >> 30) + 1;
    }

    private static long size(Path file) {
        try {
            return Files.size(file);
        } catch (IOException e) {
            return 0;
        }
    }

    /** Java holds a character in one byte while all of a string's are Latin-1, else in two. */
    private static long bytes(String text) {
        for (int i = 0; i < text.length(); i++) {
            if (text.charAt(i) > 0xff) {
                return 2L * text.length();
            }
        }
        return text.length();
    }
}
