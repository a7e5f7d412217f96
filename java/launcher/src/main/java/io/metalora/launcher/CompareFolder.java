package io.metalora.launcher;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.config.Protocol;
import io.metalora.file.AtomicFile;
import io.metalora.file.FileLocks;
import io.metalora.file.JsonText;
import io.metalora.file.RegularFile;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;

/**
 * The folder of a comparison, which one process at a time works in: its protocol, what it depends on, and every finished cell.
 * Each file appears whole or not at all, so that the same command continues where it was killed.
 */
final class CompareFolder implements AutoCloseable {

    private static final String LOCK = "compare.lock";
    private static final String PROTOCOL = "protocol.yaml";
    private static final String INPUTS = "inputs.json";
    private static final String MODEL = "model";
    private static final String CELLS = "cells";
    private static final String RUNS = "runs";
    private static final List<String> RESULTS = List.of("results.json", "results.md", "report.html");
    private static final Set<String> BEFORE_PROTOCOL = Set.of(LOCK, MODEL, INPUTS);
    private static final String ADVICE = "give another --output";
    private static final int LARGEST = 64 << 20;
    private static final ObjectMapper JSON = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    private final Path path;
    private final FileChannel lock;
    private final String protocol;
    private boolean isOfUse; // whether there was something before, or something has begun

    private CompareFolder(Path path, FileChannel lock, String protocol, boolean isOfUse) {
        this.path = path;
        this.lock = lock;
        this.protocol = protocol;
        this.isOfUse = isOfUse;
    }

    /**
     * Makes the folder, or opens it where it is this protocol's. {@link #begin} makes it so; one that was made and is closed before
     * is removed again.
     *
     * @param protocol the file's text
     * @throws InputException if something else is there, or another process is at work in it
     */
    static CompareFolder open(Path path, String protocol) {
        boolean there = Files.exists(path, LinkOption.NOFOLLOW_LINKS);
        Path copy = path.resolve(PROTOCOL);
        if (there && !Files.isDirectory(path)) {
            throw new InputException(path + ": is a file; " + ADVICE);
        }
        if (there) {
            requireFiles(path);
        }
        if (there && !Files.exists(copy) && !isBegun(path)) {
            throw new InputException(path + ": is not empty and holds no comparison; " + ADVICE);
        }
        AtomicFile.makeFolder(path, ADVICE);
        FileChannel lock = lock(path.resolve(LOCK));
        try {
            if (Files.exists(copy) && !protocol.equals(Protocol.text(copy))) {
                throw new InputException(path + ": holds a comparison by another protocol, a copy of which is " + copy
                        + "; a protocol is not changed once it is run: give another --output, or that copy to continue");
            }
            return new CompareFolder(path, lock, protocol, there);
        } catch (RuntimeException e) {
            close(lock);
            throw e;
        }
    }

    /** A pipe would be waited for, and what can't be replaced be noticed when the work is done. */
    private static void requireFiles(Path path) {
        Stream.concat(Stream.of(LOCK, PROTOCOL, INPUTS), RESULTS.stream()).map(path::resolve).forEach(CompareFolder::requireFile);
        List.of(CELLS, RUNS).forEach(name -> requireFilesBelow(path.resolve(name)));
    }

    /** A folder of folders of files, if it is there. */
    private static void requireFilesBelow(Path folder) {
        if (!RegularFile.isNamed(folder)) {
            return;
        }
        requireFolder(folder);
        try (var entries = Files.list(folder)) {
            for (Path below : entries.filter(entry -> AtomicFile.nameToBe(entry).isEmpty()).toList()) {
                requireFolder(below);
                try (var files = Files.list(below)) {
                    files.filter(file -> file.toString().endsWith(".json")).forEach(CompareFolder::requireFile);
                }
            }
        } catch (IOException e) {
            throw new InputException(folder + ": can't be listed: " + FileFailure.reason(e), e);
        } catch (UncheckedIOException e) {
            throw new InputException(folder + ": can't be listed: " + FileFailure.reason(e.getCause()), e);
        }
    }

    private static void requireFile(Path file) {
        RegularFile.requireNothingElse(file, "the comparison", ADVICE);
    }

    private static void requireFolder(Path folder) {
        if (!Files.isDirectory(folder)) {
            throw new InputException(folder + ": is no folder where the comparison has one; move it away, or " + ADVICE
                    + ". Nothing was changed");
        }
    }

    /** Whether nothing is in it but what a refusal or a kill may have left before the protocol was there. */
    private static boolean isBegun(Path path) {
        try (var entries = Files.list(path)) {
            List<Path> files = entries.toList();
            return (files.isEmpty() || files.stream().anyMatch(file -> file.endsWith(LOCK))) && files.stream().allMatch(file -> BEFORE_PROTOCOL.contains(file.getFileName().toString())
                    || AtomicFile.nameToBe(file).filter(name -> name.equals(PROTOCOL) || BEFORE_PROTOCOL.contains(name)).isPresent());
        } catch (IOException e) {
            throw new InputException(path + ": can't be listed: " + FileFailure.reason(e), e);
        }
    }

    private static FileChannel lock(Path file) {
        FileChannel channel = null;
        try {
            channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            if (!FileLocks.take(channel)) {
                throw new InputException(file.getParent() + ": another process is at work on this comparison; wait for its end or stop it");
            }
            return channel;
        } catch (IOException e) {
            close(channel);
            if (AtomicFile.isRefused(file, e)) {
                throw new InputException(file + ": can't be written: " + FileFailure.reason(e) + "; " + ADVICE, e);
            }
            throw AtomicFile.failed(file, e);
        } catch (RuntimeException e) {
            close(channel);
            throw e;
        }
    }

    /**
     * All is checked: records the protocol and what the results depend on beside it, or compares that with what was recorded.
     *
     * @throws InputException if something is not what it was when the comparison began
     */
    void begin(Map<String, String> inputs) {
        isOfUse = true;
        removeLeftovers();
        Path copy = path.resolve(PROTOCOL);
        Path file = path.resolve(INPUTS);
        if (!Files.exists(copy)) {
            ObjectNode all = JsonNodeFactory.instance.objectNode();
            new TreeMap<>(inputs).forEach(all::put);
            write(file, all);
            AtomicFile.write(copy, protocol.getBytes(StandardCharsets.UTF_8)); // last: with it there is a comparison
            return;
        }
        ObjectNode before = read(file).orElseThrow(() -> new InputException(file + ": is missing or damaged, and says what the comparison depends on; "
                + "restore it from a copy, or begin anew with another --output"));
        List<String> changed = inputs.entrySet().stream().filter(input -> !input.getValue().equals(before.path(input.getKey()).asText()))
                .map(Map.Entry::getKey).sorted().toList();
        if (!changed.isEmpty()) {
            throw new InputException(path + ": since the comparison began, there has changed: " + String.join(", ", changed)
                    + "; restore it, or begin anew with another --output");
        }
    }

    /** What killed writes have left, wherever this folder's own files are. */
    private void removeLeftovers() {
        AtomicFile.removeLeftovers(path);
        for (String of : List.of(CELLS, RUNS)) {
            if (Files.isDirectory(path.resolve(of))) {
                try (var folders = Files.list(path.resolve(of))) {
                    folders.filter(Files::isDirectory).forEach(AtomicFile::removeLeftovers);
                } catch (IOException e) {
                    throw new InputException(path.resolve(of) + ": can't be listed: " + FileFailure.reason(e), e);
                }
            }
        }
    }

    /** Where the embedded model is put. */
    Path model() {
        return path.resolve(MODEL);
    }

    Path path() {
        return path;
    }

    /** A folder for the training with these settings; not made yet. */
    Path run(String name) {
        return path.resolve(RUNS).resolve(name);
    }

    /** The file of a cell. */
    Path cell(String arm, String name) {
        return path.resolve(CELLS).resolve(arm).resolve(name + ".json");
    }

    /** What is in a file of this folder; empty if it is not there, or damaged, and so to be made again. */
    static Optional<ObjectNode> read(Path file) {
        if (!Files.isRegularFile(file)) {
            return Optional.empty();
        }
        try {
            JsonNode node = JSON.readTree(JsonText.read(file, LARGEST, "a comparison's file"));
            return node instanceof ObjectNode object ? Optional.of(object) : Optional.empty();
        } catch (JsonProcessingException e) {
            return Optional.empty();
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + FileFailure.reason(e), e);
        }
    }

    /** Writes it in one step, with the folders above it. */
    static void write(Path file, Object json) {
        AtomicFile.makeFolder(file.getParent(), ADVICE);
        AtomicFile.write(file, (Json.pretty(json) + "\n").getBytes(StandardCharsets.UTF_8));
    }

    private static void close(FileChannel channel) {
        try {
            if (channel != null) {
                channel.close();
            }
        } catch (IOException e) {
            // What was written through it is nothing.
        }
    }

    @Override
    public void close() {
        try {
            if (!isOfUse) {
                AtomicFile.delete(path); // while it is locked: nobody else can have begun in it
            }
        } finally {
            close(lock);
        }
    }
}
