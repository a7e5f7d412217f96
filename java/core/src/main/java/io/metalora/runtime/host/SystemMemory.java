package io.metalora.runtime.host;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;

/** Memory of this machine, as Linux reports it. */
public final class SystemMemory {
    private SystemMemory() {}

    /**
     * Bytes a process may still take without swapping: what the kernel calls available, or what the memory limit of
     * its control group leaves, whichever is less. Page cache that can be dropped counts as free. Long.MAX_VALUE where
     * neither is known.
     */
    public static long available() {
        return available(Path.of("/proc"), Path.of("/sys/fs/cgroup"));
    }

    /** Forgets {@link #peak} so far, where the system lets a process do so; returns whether it did. */
    public static boolean resetPeak() {
        try {
            Files.writeString(Path.of("/proc/self/clear_refs"), "5");
            return true;
        } catch (IOException e) {
            return false;
        }
    }

    /** The most memory that this process has held, in bytes; empty where that is not known. */
    public static OptionalLong peak() {
        var kib = number(Path.of("/proc/self/status"), "VmHWM:");
        return kib.isPresent() ? OptionalLong.of(kib.getAsLong() * 1024) : kib;
    }

    static long available(Path proc, Path cgroups) {
        return Math.min(machine(proc).orElse(Long.MAX_VALUE), group(proc, cgroups));
    }

    private static OptionalLong machine(Path proc) {
        var kib = number(proc.resolve("meminfo"), "MemAvailable:");
        return kib.isPresent() ? OptionalLong.of(kib.getAsLong() * 1024) : kib;
    }

    /** What the limits of the process's group and of the groups around it leave. */
    private static long group(Path proc, Path cgroups) {
        long least = Long.MAX_VALUE;
        for (var line : lines(proc.resolve("self/cgroup"))) {
            // hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers
            var part = line.split(":", 3);
            if (part.length != 3) {
                continue;
            }
            boolean v2 = part[0].equals("0");
            if (!v2 && !part[1].contains("memory")) {
                continue;
            }
            var root = v2 ? cgroups : cgroups.resolve("memory");
            // A container sees its own group as the root although the path names it from outside.
            for (var at = root.resolve(part[2].substring(1)).normalize();
                    at != null && at.startsWith(root); at = at.getParent()) {
                least = Math.min(least, v2
                        ? left(at, "memory.max", "memory.current", "inactive_file")
                        : left(at, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
            }
        }
        return least;
    }

    private static long left(Path group, String limitFile, String usedFile, String cacheKey) {
        var limit = number(group.resolve(limitFile), "");
        var used = number(group.resolve(usedFile), "");
        if (limit.isEmpty() || used.isEmpty()) {
            return Long.MAX_VALUE;
        }
        long cache = number(group.resolve("memory.stat"), cacheKey + " ").orElse(0);
        return Math.max(0, limit.getAsLong() - Math.max(0, used.getAsLong() - cache));
    }

    /** The number that follows {@code key} at the start of a line; empty where there is none ("max"). */
    private static OptionalLong number(Path file, String key) {
        for (var line : lines(file)) {
            if (line.startsWith(key)) {
                var digits = line.substring(key.length()).strip().split("\\s", 2)[0];
                try {
                    return OptionalLong.of(Long.parseLong(digits));
                } catch (NumberFormatException e) {
                    return OptionalLong.empty();
                }
            }
        }
        return OptionalLong.empty();
    }

    private static List<String> lines(Path file) {
        try {
            return Files.readAllLines(file);
        } catch (IOException e) {
            return List.of();
        }
    }
}
