package io.metalora.bindings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.bindings.generated.Metalora;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class NativeLibraryTest {
    private static final NativePlatform HERE = NativePlatform.current();

    @TempDir
    Path folder;

    @Test
    void loadsTheBuiltLibrary() {
        NativeLibrary library = NativeLibrary.load();
        assertThat(library.file()).isAbsolute().isRegularFile();
        assertThat(library.version()).matches("\\d+\\.\\d+\\.\\d+");
        assertThat(NativeLibrary.load()).isSameAs(library);
    }

    @Test
    void failuresCarryStatusAndText() {
        NativeLibrary.load();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment context = arena.allocate(ValueLayout.ADDRESS);
            assertThatExceptionOfType(NativeException.class)
                    .isThrownBy(() -> NativeLibrary.check(Metalora.ml_context_create(MemorySegment.NULL, context)))
                    .satisfies(e -> assertThat(e.status()).isEqualTo(Status.INVALID_ARGUMENT))
                    .satisfies(e -> assertThat(e).hasToString(NativeException.class.getName()
                            + " (ML_INVALID_ARGUMENT): " + e.getMessage()))
                    .withMessageMatching("(?!ML_).*options.*");
        }
    }

    @Test
    void statusNamesAreThoseOfTheHeader() {
        NativeLibrary.load();
        for (Status status : Status.values()) {
            assertThat(Metalora.ml_status_name(status.code()).getString(0)).isEqualTo("ML_" + status);
        }
        assertThat(Metalora.ml_status_name(Status.values().length).getString(0)).doesNotStartWith("ML_");
    }

    @Test
    void namesAMissingFile() {
        Path missing = folder.resolve("absent.so");
        assertThatThrownBy(() -> NativeLibrary.locate(missing.toString(), HERE, name -> null))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining(missing.toString())
                .hasMessageContaining("no such file")
                .hasMessageContaining("-Dmetalora.native.path");
    }

    @Test
    void looksInsideAFolder() throws IOException {
        Path library = Files.createFile(folder.resolve(HERE.libraryName()));
        assertThat(NativeLibrary.locate(folder.toString(), HERE, name -> null)).isEqualTo(library);
    }

    @Test
    void tellsTheLoadersReason() throws IOException {
        Path text = Files.writeString(folder.resolve("text.so"), "not a library");
        assertThatThrownBy(() -> NativeLibrary.checkAbi(text))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining(text.toString())
                .hasMessageContaining("file too short");
        Path longer = Files.writeString(folder.resolve("longer.so"), "not a library".repeat(100));
        assertThatThrownBy(() -> NativeLibrary.checkAbi(longer))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining("invalid ELF header");
    }

    @Test
    void refusesAnotherAbi() throws Exception {
        Path library = CCompiler.sharedLibrary(folder, "future", "int ml_abi_version(void) { return 7001; }");
        assertThatThrownBy(() -> NativeLibrary.checkAbi(library))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining(library.toString())
                .hasMessageContaining("7001")
                .hasMessageContaining("need " + Metalora.ML_ABI_VERSION());
    }

    @Test
    void refusesAnotherLibrary() throws Exception {
        Path library = CCompiler.sharedLibrary(folder, "other", "int unrelated(void) { return 1; }");
        assertThatThrownBy(() -> NativeLibrary.checkAbi(library))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining("not libmetalora");
    }

    @Test
    void namesThePlatformThatHasNoLibrary() {
        assertThatThrownBy(() -> NativeLibrary.locate(null, NativePlatform.of("Plan 9", "amd64"), name -> null))
                .isInstanceOf(NativeException.class)
                .hasMessageContaining("plan-9-x86_64");
    }

    @Test
    void extractsOnceForAllWhoAskAtTheSameTime() throws Exception {
        byte[] library = "library".repeat(100_000).getBytes();
        var resources = jar(library, NativeCache.sha256(library));
        Path cache = folder.resolve("cache");
        int threads = 8;
        var start = new CountDownLatch(1);
        try (var pool = Executors.newFixedThreadPool(threads)) {
            List<Future<Path>> folders = new ArrayList<>();
            for (int i = 0; i < threads; i++) {
                Callable<Path> extraction = () -> {
                    start.await();
                    return NativeCache.extract(resources::resolve, cache);
                };
                folders.add(pool.submit(extraction));
            }
            start.countDown();
            for (Future<Path> extracted : folders) {
                assertThat(extracted.get().resolve("libmetalora.so")).hasBinaryContent(library);
            }
        }
        try (var left = Files.walk(cache).filter(Files::isRegularFile)) {
            assertThat(left).singleElement().extracting(Path::getFileName).hasToString("libmetalora.so");
        }
    }

    @Test
    void repairsADamagedCopy() throws Exception {
        byte[] library = "library".getBytes();
        var resources = jar(library, NativeCache.sha256(library));
        Path extracted = NativeCache.extract(resources::resolve, folder.resolve("cache")).resolve("libmetalora.so");
        Files.writeString(extracted, "lib");
        NativeCache.extract(resources::resolve, folder.resolve("cache"));
        assertThat(extracted).hasBinaryContent(library);
    }

    @Test
    void refusesAJarWhoseLibraryIsNotTheRecordedOne() throws Exception {
        var resources = jar("tampered".getBytes(), NativeCache.sha256("library".getBytes()));
        assertThatThrownBy(() -> NativeCache.extract(resources::resolve, folder.resolve("cache")))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("libmetalora.so")
                .hasMessageContaining("SHA-256");
    }

    private interface Jar {
        URL resolve(String name);
    }

    private Jar jar(byte[] library, String hash) throws IOException {
        Path jar = Files.createDirectories(folder.resolve("jar"));
        Files.write(jar.resolve("libmetalora.so"), library);
        Files.writeString(jar.resolve(NativeCache.MANIFEST), hash + "  libmetalora.so\n");
        return name -> {
            try {
                return jar.resolve(name).toUri().toURL();
            } catch (IOException e) {
                throw new AssertionError(e);
            }
        };
    }
}
