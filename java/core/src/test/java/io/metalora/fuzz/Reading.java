package io.metalora.fuzz;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** What a reader owes to any bytes: it reads them, or says in an InputException why not, in bounded time and memory. */
public final class Reading {

    private static final int MOST_SECONDS = 5;

    /** Of garbage too; the inputs have a few kilobytes. */
    private static final long MOST_BYTES = 256L << 20;

    private static final int LONGEST_MESSAGE = 4096;

    /** Words that tell a user nothing: they speak of the libraries behind a reader. */
    private static final List<String> INTERNALS = List.of("com.fasterxml", "org.yaml", "java.", "JsonToken", "StreamRead", "ReadFeature",
            "Exception", "Source: ");

    private static final Path MEMORY = Path.of("/dev/shm");

    /** Counts all threads, also those that have ended: some readers have one of their own. */
    private static final com.sun.management.ThreadMXBean THREADS = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();

    private Reading() {
    }

    /**
     * Runs a reader on an input.
     *
     * @param file what a message has to name
     */
    public static void check(String file, byte[] input, Runnable reader) {
        check(file, input, MOST_SECONDS, MOST_BYTES, reader);
    }

    /** Of what runs a program: bounded in time, and not in what it allocates and drops in that time. */
    public static void check(String file, byte[] input, int seconds, Runnable reader) {
        check(file, input, seconds, Long.MAX_VALUE, reader);
    }

    private static void check(String file, byte[] input, int seconds, long mostBytes, Runnable reader) {
        long begin = System.nanoTime();
        long before = THREADS.getTotalThreadAllocatedBytes();
        run(file, input, reader);
        if (bounded(input, seconds, mostBytes, begin, before) == null) {
            return;
        }
        // Classes that were loaded, or another process: what counts is the second time.
        begin = System.nanoTime();
        before = THREADS.getTotalThreadAllocatedBytes();
        run(file, input, reader);
        String excess = bounded(input, seconds, mostBytes, begin, before);
        if (excess != null) {
            throw new AssertionError(excess);
        }
    }

    private static void run(String file, byte[] input, Runnable reader) {
        try {
            reader.run();
        } catch (InputException e) {
            checkMessage(e, file, input);
        }
    }

    /** What was too much since then, or null. */
    private static String bounded(byte[] input, int seconds, long mostBytes, long begin, long before) {
        long bytes = THREADS.getTotalThreadAllocatedBytes() - before;
        long nanos = System.nanoTime() - begin;
        return bytes > mostBytes ? input.length + " bytes of input took " + (bytes >> 20) + " MiB of memory"
                : nanos > TimeUnit.SECONDS.toNanos(seconds) ? input.length + " bytes of input took " + TimeUnit.NANOSECONDS.toSeconds(nanos) + " s" : null;
    }

    private static void checkMessage(InputException e, String file, byte[] input) {
        String message = e.getMessage();
        if (message == null || !message.contains(file)) {
            throw new AssertionError("the message does not name " + file + ": " + message, e);
        }
        if (message.length() > LONGEST_MESSAGE) {
            throw new AssertionError("a message of " + message.length() + " characters: " + message.substring(0, 200), e);
        }
        for (String word : INTERNALS) {
            // A name of the input may be such a word, with something else after it in the message.
            if (message.contains(word) && !new String(input, StandardCharsets.ISO_8859_1).contains(word.strip())) {
                throw new AssertionError("the message speaks of " + word + ": " + message, e);
            }
        }
    }

    /** A folder of this process for the files that the readers read; one for all inputs. */
    public static Path folder() {
        try {
            // In memory where that is at hand: to write a file again and again takes the disk's time otherwise.
            Path folder = Files.isWritable(MEMORY) ? Files.createTempDirectory(MEMORY, "reading") : Files.createTempDirectory("reading");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> delete(folder)));
            return folder;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void delete(Path folder) {
        try (var files = Files.list(folder)) {
            for (Path file : files.toList()) {
                Files.delete(file);
            }
            Files.delete(folder);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** The file with these bytes. */
    public static Path write(Path file, byte[] content) {
        try {
            return Files.write(file, content);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
