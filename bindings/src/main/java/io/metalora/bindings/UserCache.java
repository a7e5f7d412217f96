package io.metalora.bindings;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/**
 * What metalora keeps from one run to the next: native libraries unpacked from jars, and results that took time to find. All of
 * it may be deleted.
 */
public final class UserCache {
    private static Path temporary;

    private UserCache() {}

    /** {@code $XDG_CACHE_HOME/metalora}, by default {@code ~/.cache/metalora}. It need not exist. */
    public static Path folder() {
        String xdg = System.getenv("XDG_CACHE_HOME");
        Path caches = xdg != null && Path.of(xdg).isAbsolute()
                ? Path.of(xdg)
                : Path.of(System.getProperty("user.home"), ".cache");
        return caches.resolve("metalora");
    }

    /** Why no library can be unpacked into {@link #folder} and loaded from there; null where it can. Makes the folder. */
    public static String problem() {
        return problem(folder());
    }

    /**
     * A folder that libraries can be unpacked into and loaded from: {@link #folder}, or where that is not to be used a
     * private temporary one, the same for the whole JVM and removed at its end.
     *
     * @throws IOException if neither can be used; the message says why, and what to do
     */
    public static synchronized Path forLibraries() throws IOException {
        String problem = problem();
        if (problem == null) {
            return folder();
        }
        if (temporary == null) {
            Path made = null;
            String second;
            try {
                made = Files.createTempDirectory("metalora");
                second = problem(made);
            } catch (IOException e) {
                second = System.getProperty("java.io.tmpdir") + " can't be written (" + reason(e) + ")";
            }
            if (second != null) {
                if (made != null) {
                    Files.deleteIfExists(made);
                }
                throw new IOException("there is no folder to unpack native libraries into: " + problem + ", and " + second
                        + "; set XDG_CACHE_HOME to a folder that can be written and is not mounted noexec");
            }
            temporary = made;
            Runtime.getRuntime().addShutdownHook(new Thread(() -> remove(temporary)));
        }
        return temporary;
    }

    static String problem(Path folder) {
        try {
            Files.createDirectories(folder);
            Files.delete(Files.createTempFile(folder, "probe", ".new"));
            Path mounts = Path.of("/proc/self/mounts");
            // Whatever the names of other mounts hold: they need not be UTF-8.
            return Files.isReadable(mounts)
                    && noexec(folder.toRealPath(), new String(Files.readAllBytes(mounts), StandardCharsets.UTF_8).lines().toList())
                    ? folder + " is on a file system that is mounted noexec"
                    : null;
        } catch (IOException | UncheckedIOException e) {
            return folder + " can't be written (" + reason(e instanceof UncheckedIOException unchecked ? unchecked.getCause() : (IOException) e)
                    + ")";
        }
    }

    private static String reason(IOException e) {
        return switch (e) {
            case AccessDeniedException denied -> "permission denied";
            case NoSuchFileException none -> "there is no such folder";
            case FileSystemException failure when failure.getReason() != null -> failure.getReason();
            default -> e.getMessage();
        };
    }

    /**
     * Whether the file system that holds {@code folder} forbids loading libraries.
     *
     * @param mounts the lines of /proc/mounts; where several mounts cover a folder, the last one counts
     */
    static boolean noexec(Path folder, List<String> mounts) {
        Path nearest = null;
        boolean forbidden = false;
        for (String line : mounts) {
            String[] fields = line.split(" ");
            if (fields.length < 4) {
                continue;
            }
            Path point;
            try {
                point = Path.of(fields[1].replace("\\040", " "));
            } catch (InvalidPathException e) {
                continue; // a name that this process can't give any folder
            }
            if (folder.startsWith(point) && (nearest == null || point.getNameCount() >= nearest.getNameCount())) {
                nearest = point;
                forbidden = Arrays.asList(fields[3].split(",")).contains("noexec");
            }
        }
        return forbidden;
    }

    private static void remove(Path folder) {
        try (var files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(file);
            }
        } catch (IOException | UncheckedIOException e) {
            // A temporary folder that can't be removed now is the system's to remove.
        }
    }
}
