package io.metalora.file;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
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
