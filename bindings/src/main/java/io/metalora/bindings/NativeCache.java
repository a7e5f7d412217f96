package io.metalora.bindings;

import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Function;

/**
 * Libraries of a jar as files, for the dynamic loader. There is a folder per content, so that versions are kept apart, and a file
 * with the right hash is used as it is. Files appear under their name whole, so JVMs may race.
 */
final class NativeCache {
    /** Lists the libraries beside it, one a line: SHA-256, two spaces, name. */
    static final String MANIFEST = "MANIFEST";

    private NativeCache() {}

    /** Copies the files of the manifest that are not there yet; returns their folder. */
    static Path extract(Function<String, URL> resources, Path cache) throws IOException {
        byte[] manifest = read(resources, MANIFEST);
        Path folder = cache.toAbsolutePath().resolve(sha256(manifest).substring(0, 16));
        Files.createDirectories(folder);
        for (var entry : parse(manifest).entrySet()) {
            Path file = folder.resolve(entry.getKey());
            if (!Files.isRegularFile(file) || !sha256(Files.readAllBytes(file)).equals(entry.getValue())) {
                byte[] content = read(resources, entry.getKey());
                if (!sha256(content).equals(entry.getValue())) {
                    throw new IOException(entry.getKey() + " in the jar differs from its recorded SHA-256");
                }
                Path temporary = Files.createTempFile(folder, entry.getKey(), ".new");
                try {
                    Files.write(temporary, content);
                    Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
                } finally {
                    Files.deleteIfExists(temporary);
                }
            }
        }
        return folder;
    }

    private static Map<String, String> parse(byte[] manifest) throws IOException {
        Map<String, String> hashes = new LinkedHashMap<>();
        for (String line : new String(manifest, StandardCharsets.UTF_8).lines().toList()) {
            String[] fields = line.split("  ", 2);
            if (fields.length != 2 || !fields[0].matches("[0-9a-f]{64}") || !fields[1].matches("[A-Za-z0-9_.-]+")) {
                throw new IOException("a line of the native manifest is malformed: " + line);
            }
            hashes.put(fields[1], fields[0]);
        }
        return hashes;
    }

    private static byte[] read(Function<String, URL> resources, String name) throws IOException {
        URL url = resources.apply(name);
        if (url == null) {
            throw new IOException("the jar has no " + name);
        }
        try (InputStream in = url.openStream()) {
            return in.readAllBytes();
        }
    }

    static String sha256(byte[] content) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every Java platform has SHA-256", e);
        }
    }
}
