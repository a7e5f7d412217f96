package io.metalora.bindings;

import io.metalora.bindings.generated.Metalora;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Finds, checks and loads {@code libmetalora}. Looked for, in this order:
 * <ol>
 *   <li>the file or folder that the system property {@value #PATH_PROPERTY} names;
 *   <li>the library inside this module's jar, copied to the user's cache folder under a name made from its content, or
 *       where that can't be used into a temporary folder;
 *   <li>in a source checkout, where this module is a folder of classes, the library that the build laid into it.
 * </ol>
 * Until {@link #load} has returned, nothing in {@link io.metalora.bindings.generated} may be touched.
 */
public final class NativeLibrary {
    /** System property: the library's file, or the folder that holds it. */
    public static final String PATH_PROPERTY = "metalora.native.path";

    private static NativeLibrary loaded;

    private final Path file;
    private final String version;

    private NativeLibrary(Path file, String version) {
        this.file = file;
        this.version = version;
    }

    /**
     * Loads the native core, once per JVM.
     *
     * @throws NativeException when there is none, or none that can be used; the text says which file, why, and what to
     *     do. The next call tries again.
     */
    public static synchronized NativeLibrary load() {
        if (loaded == null) {
            Path file = locate(System.getProperty(PATH_PROPERTY), NativePlatform.current(), NativeLibrary.class::getResource);
            checkAbi(file);
            open(file);
            loaded = new NativeLibrary(file, Metalora.ml_version().getString(0));
        }
        return loaded;
    }

    /** The file in use. */
    public Path file() {
        return file;
    }

    /** The version of the native core, {@code major.minor.patch}. */
    public String version() {
        return version;
    }

    /** The version of the C ABI, the same in the library and in these bindings. */
    public int abiVersion() {
        return Metalora.ML_ABI_VERSION();
    }

    /** Throws the failure of the last call on this thread, unless {@code status} is {@code ML_OK}. */
    public static void check(int status) {
        if (status != 0) {
            throw new NativeException(Status.of(status), Metalora.ml_last_error().getString(0));
        }
    }

    /** Where resources of this module are found; null where there is none of that name. */
    interface Resources {
        URL find(String name);
    }

    static Path locate(String override, NativePlatform platform, Resources resources) {
        if (override != null) {
            Path path = Path.of(override).toAbsolutePath();
            Path file = Files.isDirectory(path) ? path.resolve(platform.libraryName()) : path;
            if (!Files.isRegularFile(file)) {
                throw unusable(file, "there is no such file",
                        "correct or remove -D" + PATH_PROPERTY + "=" + override);
            }
            return file;
        }
        String folder = "/native/" + platform.name() + "/";
        URL manifest = resources.find(folder + NativeCache.MANIFEST);
        if (manifest == null) {
            throw new NativeException(Status.BACKEND_UNAVAILABLE,
                    "this build of metalora-bindings has no native library for " + platform.name()
                            + "; build it on this machine (mvn package), or name one with -D" + PATH_PROPERTY + "=FILE");
        }
        if (manifest.getProtocol().equals("file")) {
            try {
                return Path.of(manifest.toURI()).resolveSibling(platform.libraryName());
            } catch (URISyntaxException e) {
                throw new IllegalStateException("not a URI: " + manifest, e);
            }
        }
        try {
            return NativeCache.extract(name -> resources.find(folder + name), UserCache.forLibraries())
                    .resolve(platform.libraryName());
        } catch (IOException e) {
            throw new NativeException(Status.BACKEND_UNAVAILABLE,
                    "can't unpack the native library: " + (e.getClass() == IOException.class ? e.getMessage() : e)
                            + "; or name an unpacked one with -D" + PATH_PROPERTY + "=FILE", e);
        }
    }

    /** Asks the library for its ABI version without keeping it loaded, so that a wrong one leaves no symbols behind. */
    static void checkAbi(Path file) {
        int version;
        try (Arena arena = Arena.ofConfined()) {
            SymbolLookup symbols = SymbolLookup.libraryLookup(file, arena);
            var function = symbols.find("ml_abi_version");
            if (function.isEmpty()) {
                throw unusable(file, "it is not libmetalora: it has no ml_abi_version()", remedy());
            }
            var handle = Linker.nativeLinker().downcallHandle(function.get(), FunctionDescriptor.of(ValueLayout.JAVA_INT));
            version = (int) handle.invokeExact();
        } catch (IllegalArgumentException notLoadable) {
            open(file); // fails as well, and its error carries the dynamic loader's reason
            throw unusable(file, notLoadable.getMessage(), remedy());
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw new AssertionError("a native call without arguments throws nothing", e);
        }
        if (version != Metalora.ML_ABI_VERSION()) {
            throw unusable(file, "its ABI version is " + version + ", these bindings need "
                    + Metalora.ML_ABI_VERSION(), "use the library and the jars of one release; " + remedy());
        }
    }

    private static void open(Path file) {
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError e) {
            throw unusable(file, e.getMessage(), remedy(), e);
        }
    }

    private static String remedy() {
        return System.getProperty(PATH_PROPERTY) != null
                ? "correct or remove -D" + PATH_PROPERTY
                : "rebuild it (mvn package), or name another with -D" + PATH_PROPERTY + "=FILE";
    }

    private static NativeException unusable(Path file, String reason, String fix) {
        return unusable(file, reason, fix, null);
    }

    private static NativeException unusable(Path file, String reason, String fix, Throwable cause) {
        return new NativeException(Status.BACKEND_UNAVAILABLE,
                "can't use the native library " + file + ": " + reason + "; " + fix, cause);
    }
}
