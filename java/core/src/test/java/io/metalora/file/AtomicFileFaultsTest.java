package io.metalora.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Whatever fails, a file or folder is as before or new and whole. */
class AtomicFileFaultsTest {

    @TempDir
    private Path folder;

    private final FaultyFileSystem files = new FaultyFileSystem();

    private interface Write {
        void to(Path target);
    }

    @ParameterizedTest
    @EnumSource
    void aFileThatIsReplaced(Fault fault) throws IOException {
        Path target = folder.resolve("file");
        int operations = failing(fault, target, path -> AtomicFile.write(path, "new content".getBytes()), () -> Files.writeString(target, "old"),
                () -> Files.readString(target));
        assertThat(operations).isEqualTo(5); // create, write, force, rename, force of the folder
    }

    @ParameterizedTest
    @EnumSource
    void aFileThatIsMade(Fault fault) throws IOException {
        Path target = folder.resolve("file");
        failing(fault, target, path -> AtomicFile.write(path, "new content".getBytes()), () -> Files.deleteIfExists(target),
                () -> Files.exists(target) ? Files.readString(target) : null);
    }

    @ParameterizedTest
    @EnumSource
    void aFolderThatIsMade(Fault fault) throws IOException {
        Path target = folder.resolve("above/made");
        AtomicFile.FolderContent content = made -> {
            AtomicFile.write(made.resolve("a"), new byte[] {1});
            AtomicFile.write(made.resolve("b"), out -> out.write(ByteBuffer.allocate(2)));
        };
        failing(fault, target, path -> AtomicFile.createFolder(path, content), () -> {
            for (String name : new String[] {"a", "b"}) {
                Files.deleteIfExists(target.resolve(name));
            }
            return Files.deleteIfExists(target);
        }, () -> {
            if (!Files.exists(target)) {
                return null;
            }
            assertThat(target.resolve("a")).hasBinaryContent(new byte[] {1});
            assertThat(target.resolve("b")).hasBinaryContent(new byte[] {0, 0});
            return "whole";
        });
    }

    /** What another place would mend is bad input, and nothing else is. */
    @ParameterizedTest
    @EnumSource
    void whetherThePlaceIsAtFault(Fault fault) {
        Path target = folder.resolve("above/made");
        files.failAt(1, fault, true);
        assertThatThrownBy(() -> AtomicFile.makeFolder(files.path(target), "give another"))
                .isInstanceOf(fault == Fault.READ_ONLY || fault == Fault.DENIED ? InputException.class : UncheckedIOException.class)
                .hasMessageContaining(target.toString());
        assertThat(folder.resolve("above")).doesNotExist();
    }

    @Test
    void aPlaceBelowAFileOrWithALongNameIsAtFault() throws IOException {
        Path file = Files.createFile(folder.resolve("file"));
        for (Path place : List.of(file, file.resolve("below/made"), folder.resolve("a".repeat(256)), folder.resolve("\u00e9".repeat(128) + "/made"))) {
            assertThatThrownBy(() -> AtomicFile.makeFolder(place, "give another")).isInstanceOf(InputException.class)
                    .hasMessageStartingWith(place + ": can't be made: ").hasMessageEndingWith("; give another");
        }
        AtomicFile.makeFolder(folder.resolve("a".repeat(255)), "give another");
        assertThat(folder.resolve("a".repeat(255))).isDirectory();
    }

    /** The name that it has meanwhile fits too, and is known for what it is. */
    @Test
    void theLongestNameCanBeWritten() throws IOException {
        for (String name : List.of("a".repeat(255), "\u00e9".repeat(127), "\ud83d\ude00".repeat(63))) {
            Path target = folder.resolve(name);
            AtomicFile.createFolder(target, made -> assertThat(AtomicFile.nameToBe(made))
                    .hasValueSatisfying(most -> assertThat(name).startsWith(most)));
            assertThat(target).isEmptyDirectory();
        }
        try (var entries = Files.list(folder)) {
            assertThat(entries).hasSize(3);
        }
    }

    @Test
    void namesWhatATemporaryFileWillBe() {
        assertThat(AtomicFile.nameToBe(Path.of("x", ".a.b.tmp-1f"))).contains("a.b");
        for (String name : List.of("a.tmp-1", ".a.tmp-", ".a.tmp-xyz", ".a.tmp-1.txt", ".tmp-1", ".a.tmp-00000000000000001")) {
            assertThat(AtomicFile.nameToBe(Path.of(name))).as(name).isEmpty();
        }
    }

    private interface Step {
        Object run() throws IOException;
    }

    /** Returns the operations that a write has. */
    private int failing(Fault fault, Path target, Write write, Step before, Step content) throws IOException {
        before.run();
        Object old = content.run();
        Path faulty = files.path(target);
        for (int number = 1; ; number++) {
            files.failAt(number, fault, false);
            boolean refused = false;
            try {
                write.to(faulty);
            } catch (UncheckedIOException e) {
                refused = true;
                assertThat(e).hasMessageContaining(target.toString());
                assertThat(e.getMessage()).containsAnyOf("No space left", "Input/output error", "Read-only", "denied", "Denied");
            }
            if (!files.failed()) {
                return number - 1;
            }
            // What is passed over costs nothing (a folder above that is made at the second try). The last operation is that which makes a rename last: the new content is there already.
            if (!refused || files.firstFailed().startsWith("force " + target.getParent().getFileName())) {
                assertThat(content.run()).isNotEqualTo(old);
            } else {
                assertThat(content.run()).as(files.firstFailed()).isEqualTo(old);
            }
            try (var left = Files.walk(folder)) {
                assertThat(left.map(Path::toString)).as(files.firstFailed()).noneMatch(name -> name.contains("tmp-"));
            }
            before.run();
        }
    }
}
