package io.metalora.run;

import io.metalora.file.AtomicFile;
import io.metalora.file.RegularFile;
import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Pattern;

/**
 * The right to train in a run folder, which one thread of one process has at a time. It is the system's lock on a file, which
 * ends with the process, however that ends; the file names the holder to others and stays when the lock is gone.
 */
final class RunLock implements AutoCloseable {

    /** In the run folder. Never removed: a process that had just opened it would lock a file that no other sees. */
    static final String FILE = "run.lock";

    private static final Pattern PROCESS = Pattern.compile("process (\\d{1,18}) on (\\S+), .*");
    private static final int LONGEST_SIGNATURE = 1024;
    private static final int ATTEMPTS = 20;
    private static final long ATTEMPT_NANOS = 50_000_000;

    /**
     * Of this virtual machine, by real path. The system's locks are a process's: closing any channel of the file gives
     * them back, so that nothing else in the process may even open it.
     */
    private static final Map<Path, String> HELD = new HashMap<>();

    private final Path folder;
    private final FileChannel channel;
    private final Path file;
    private final String signature;
    private final boolean isNew;

    private RunLock(Path folder, Path file, FileChannel channel, String signature, boolean isNew) {
        this.folder = folder;
        this.file = file;
        this.channel = channel;
        this.signature = signature;
        this.isNew = isNew;
    }

    /**
     * Takes the lock, changing nothing in the folder but that the lock's file is there.
     *
     * @param folder exists
     * @throws InputException if another training has it, naming that; or if the folder can't be written
     */
    static synchronized RunLock take(Path folder) {
        Path file = folder.resolve(FILE);
        String signature = "process " + ProcessHandle.current().pid() + " on " + host() + ", since "
                + Instant.now().truncatedTo(ChronoUnit.SECONDS);
        try {
            Path real = folder.toRealPath();
            String holder = HELD.putIfAbsent(real, signature);
            if (holder != null) {
                throw busy(folder, holder);
            }
            FileChannel channel = null;
            try {
                boolean isNew = true;
                try {
                    channel = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE);
                } catch (FileAlreadyExistsException e) {
                    isNew = false;
                    RegularFile.require(file);
                    channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE);
                }
                for (int attempt = 0; channel.tryLock() == null; attempt++) {
                    // Before the holder signs, and after it ends, the file names nobody or an earlier holder.
                    String other = signature(channel);
                    if (isCurrent(other) || attempt == ATTEMPTS) {
                        throw busy(folder, other.isEmpty() ? "another process" : other);
                    }
                    LockSupport.parkNanos(ATTEMPT_NANOS);
                }
                return new RunLock(real, file, channel, signature, isNew);
            } catch (IOException | RuntimeException e) {
                HELD.remove(real);
                if (channel != null) {
                    channel.close();
                }
                throw e;
            }
        } catch (IOException e) {
            if (AtomicFile.isRefused(file, e)) {
                throw new InputException(file + ": can't be written: " + FileFailure.reason(e) + "; see to the folder, or take another", e);
            }
            throw AtomicFile.failed(file, e);
        }
    }

    /** Whether its file was not there before. */
    boolean isNew() {
        return isNew;
    }

    /** Who trains in a folder, as far as the lock's file says: after a kill it may still name the last one. */
    static synchronized Optional<String> holder(Path folder) {
        try {
            String held = HELD.get(folder.toRealPath());
            String signature = held == null ? signature(folder.resolve(FILE)) : held;
            return isCurrent(signature) ? Optional.of(signature) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** Writes into the lock's file who holds it. */
    void sign() {
        try {
            channel.truncate(0);
            channel.write(ByteBuffer.wrap(signature.getBytes(StandardCharsets.UTF_8)), 0);
        } catch (IOException e) {
            throw AtomicFile.failed(file, e);
        }
    }

    private static InputException busy(Path folder, String holder) {
        return new InputException(folder + ": another training is at work in this folder (" + Shown.plain(holder)
                + "); wait for its end or stop it, or give another output folder");
    }

    private static String signature(Path file) throws IOException {
        RegularFile.require(file);
        try (var channel = FileChannel.open(file)) {
            return signature(channel);
        }
    }

    private static String signature(FileChannel channel) throws IOException {
        var bytes = ByteBuffer.allocate(LONGEST_SIGNATURE);
        channel.read(bytes, 0);
        return StandardCharsets.UTF_8.decode(bytes.flip()).toString();
    }

    private static boolean isCurrent(String signature) {
        var process = PROCESS.matcher(signature);
        return process.matches() && (!process.group(2).equals(host())
                || ProcessHandle.of(Long.parseLong(process.group(1))).isPresent());
    }

    /** Without asking the network, which may take long to answer. */
    private static String host() {
        try {
            return Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
        } catch (IOException e) {
            return System.getenv().getOrDefault("HOSTNAME", System.getenv().getOrDefault("COMPUTERNAME", "this-host"));
        }
    }

    /** Gives the lock back; the file then names no holder. */
    @Override
    public void close() {
        synchronized (RunLock.class) {
            try (channel) {
                channel.truncate(0);
            } catch (IOException e) {
                throw AtomicFile.failed(file, e);
            } finally {
                HELD.remove(folder);
            }
        }
    }
}
