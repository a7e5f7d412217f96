package io.metalora.adapter;

import io.metalora.file.AtomicFile;
import io.metalora.file.JsonObject;
import io.metalora.file.RegularFile;
import io.metalora.file.Sha256;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestInputStream;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/**
 * The folder that an adapter is written to. A new one appears whole, by one rename. In one that holds an adapter the two files
 * are replaced; where the configuration changes it is taken away first and written last, so that a folder is never whole but
 * mixed.
 */
final class PeftFolder {
    private static final List<String> FILES = List.of(PeftConfig.FILE, PeftTensors.FILE);

    private PeftFolder() {}

    /** Refuses with an InputException a folder that holds anything but an adapter. */
    static void requireUsable(Path dir) {
        if (!Files.exists(dir)) {
            if (Files.isSymbolicLink(dir)) {
                throw new InputException(dir + " is a link that leads nowhere; remove it, or choose another folder for the adapter");
            }
            return;
        }
        if (!Files.isDirectory(dir)) {
            throw new InputException(dir + " is a file; choose a folder for the adapter");
        }
        for (String name : FILES) {
            Path file = dir.resolve(name);
            if (RegularFile.isNamed(file) && !Files.isRegularFile(file)) {
                throw new InputException(file + " is not a file; choose another folder for the adapter, or move it away");
            }
        }
        if (Files.exists(dir.resolve(PeftConfig.FILE))) {
            PeftConfig.checkSchema(JsonObject.read(dir.resolve(PeftConfig.FILE)));
            return;
        }
        try (var entries = Files.list(dir)) {
            // Without its configuration, the weights are what an interrupted save leaves, and what it had not renamed yet.
            var other = entries.filter(e -> AtomicFile.nameToBe(e).isEmpty()).map(e -> e.getFileName().toString())
                    .filter(n -> !n.equals(PeftTensors.FILE)).sorted().findFirst();
            if (other.isPresent()) {
                throw new InputException(dir + " is not an adapter's folder (it holds " + other.get()
                        + "); choose another folder for the adapter");
            }
        } catch (IOException e) {
            throw new InputException(dir + " cannot be listed: " + FileFailure.reason(e), e);
        }
    }

    /** Writes both files. */
    static void write(Path dir, byte[] config, Map<String, HostTensor> tensors) {
        try {
            if (Files.exists(dir)) {
                replaceFiles(dir, config, tensors);
            } else {
                AtomicFile.createFolder(dir, folder -> {
                    writeTensors(folder, tensors);
                    AtomicFile.write(folder.resolve(PeftConfig.FILE), config);
                });
            }
        } catch (IOException e) {
            throw AtomicFile.failed(dir, e);
        }
    }

    private static void replaceFiles(Path dir, byte[] config, Map<String, HostTensor> tensors) throws IOException {
        Path file = dir.resolve(PeftConfig.FILE);
        boolean same = Files.exists(file) && Arrays.equals(Files.readAllBytes(file), config);
        if (!same) {
            Files.deleteIfExists(file);
        }
        writeTensors(dir, tensors);
        if (!same) {
            AtomicFile.write(file, config);
        }
    }

    private static void writeTensors(Path dir, Map<String, HostTensor> tensors) throws IOException {
        Safetensors.write(dir.resolve(PeftTensors.FILE), tensors, Map.of("format", "pt"));
    }

    /** Of both files' bytes. */
    static String digest(Path dir) {
        var sha = Sha256.digest();
        for (String name : FILES) {
            Path file = dir.resolve(name);
            try (var in = new DigestInputStream(RegularFile.open(file), sha)) {
                in.transferTo(OutputStream.nullOutputStream());
            } catch (IOException e) {
                throw new InputException(file + " cannot be read: " + FileFailure.reason(e), e);
            }
        }
        return HexFormat.of().formatHex(sha.digest());
    }
}
