package io.metalora.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.util.Platform;
import io.metalora.bindings.UserCache;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Map;
import java.util.jar.JarEntry;

/**
 * Hugging Face's tokenizers library: where its native part is, and the settings by which DJL finds it. The native part is
 * unpacked beside libmetalora, so that one folder has to be writable, unless one of {@link #PLACES} names another place.
 */
final class TokenizerLibrary {

    /** DJL's own settings, as environment variables or system properties; the first names an unpacked library. */
    static final List<String> PLACES = List.of("RUST_LIBRARY_PATH", "ENGINE_CACHE_DIR", "DJL_CACHE_DIR");

    /** The settings that a second process needs to use the library as this one does. */
    static final List<String> SETTINGS = List.of("RUST_LIBRARY_PATH", "ENGINE_CACHE_DIR", "DJL_CACHE_DIR", "RUST_FLAVOR",
            "ai.djl.offline", "OPT_OUT_TRACKING", "user.home", "java.io.tmpdir");

    private static final Map<String, String> OPTIONS = Map.of("padding", "false", "truncation", "false");

    private static boolean loaded;
    private static String version;
    private static Path file;

    static {
        // Otherwise DJL reports every first use to its makers, over the network.
        setUnlessChosen("OPT_OUT_TRACKING", "true");
    }

    private TokenizerLibrary() {
    }

    /**
     * A tokenizer that neither pads nor truncates, from the contents of a tokenizer.json.
     *
     * @throws IllegalStateException if the library can't be loaded; the message says why, and what to do
     * @throws RuntimeException      as the library throws it where the contents are no tokenizer
     */
    static HuggingFaceTokenizer open(byte[] json) {
        load();
        try {
            return HuggingFaceTokenizer.newInstance(new ByteArrayInputStream(json), OPTIONS);
        } catch (IOException e) {
            throw new IllegalStateException("reading from memory failed", e);
        }
    }

    /** The library's version, as {@code 0.21.0-0.38.0}: that of tokenizers and that of DJL. */
    static synchronized String version() {
        if (version == null) {
            version = Platform.detectPlatform("tokenizers").getVersion();
        }
        return version;
    }

    /** The native library's file; null where one of {@link #PLACES} was set, so that DJL finds it. */
    static synchronized Path file() {
        load();
        return file;
    }

    /** Unpacks and loads the native library, once per JVM. A failure is final: DJL does not try again. */
    static synchronized void load() {
        if (loaded) {
            return;
        }
        // Where DJL looks for the library itself, a GPU makes it look for one for that GPU, on the network.
        boolean flavor = setUnlessChosen("RUST_FLAVOR", "cpu");
        try {
            if (PLACES.stream().noneMatch(place -> System.getenv(place) != null || System.getProperty(place) != null)) {
                file = unpack();
            }
            if (file != null) {
                System.setProperty("RUST_LIBRARY_PATH", file.toString());
            }
            LibUtils.checkStatus();
            loaded = true;
        } catch (IOException | RuntimeException | LinkageError e) {
            Throwable cause = e;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            throw new IllegalStateException("the tokenizers library can't be loaded" + place() + ": " + cause.getMessage(), e);
        } finally { // other users of DJL in this JVM choose for themselves
            if (file != null) {
                System.clearProperty("RUST_LIBRARY_PATH");
            }
            if (flavor) {
                System.clearProperty("RUST_FLAVOR");
            }
        }
    }

    /** The setting of DJL's that says where the library is; what DJL says of it is seldom the reason. */
    private static String place() {
        for (String place : PLACES) {
            String value = System.getenv(place) != null ? System.getenv(place) : System.getProperty(place);
            if (value != null && (file == null || !value.equals(file.toString()))) {
                return " from where " + place + " says, " + value + " (correct or unset it)";
            }
        }
        return "";
    }

    /** Null where the jar has no library for this platform under the name it has on Linux: DJL then looks for others. */
    private static Path unpack() throws IOException {
        String name = System.mapLibraryName("tokenizers");
        Platform platform = Platform.detectPlatform("tokenizers");
        URL resource = HuggingFaceTokenizer.class.getResource("/native/lib/" + platform.getClassifier() + "/cpu/" + name);
        if (resource == null || platform.getOsPrefix().equals("win")) { // Windows needs three more beside it
            return null;
        }
        // A damaged copy has another length, an older one another checksum in its path: 15 MB need not be read to tell.
        long size = -1;
        String sum = "classes";
        if (resource.openConnection() instanceof JarURLConnection jar) {
            JarEntry entry = jar.getJarEntry();
            size = entry.getSize();
            sum = Long.toHexString(entry.getCrc());
        }
        Path folder = UserCache.forLibraries().resolve("tokenizers-" + version() + "-" + sum);
        Path unpacked = folder.resolve(name);
        if (Files.isRegularFile(unpacked) && Files.size(unpacked) == size) {
            return unpacked;
        }
        Files.createDirectories(folder);
        Path temporary = Files.createTempFile(folder, name, ".new");
        try (InputStream in = resource.openStream()) {
            Files.copy(in, temporary, StandardCopyOption.REPLACE_EXISTING);
            Files.move(temporary, unpacked, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(temporary);
        }
        return unpacked;
    }

    /** Whether it was set: the user's own setting stays. */
    private static boolean setUnlessChosen(String key, String value) {
        if (System.getProperty(key) != null || System.getenv(key) != null) {
            return false;
        }
        System.setProperty(key, value);
        return true;
    }
}
