package io.metalora.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class UserCacheTest {

    private static final List<String> MOUNTS = List.of(
            "/dev/sda1 / ext4 rw,relatime 0 0",
            "/dev/sda2 /home ext4 rw,nosuid,nodev,noexec 0 0",
            "tmpfs /home/a\\040b tmpfs rw 0 0",
            "tmpfs /bad\0name tmpfs rw,noexec 0 0",
            "tmpfs /mnt tmpfs rw,noexec 0 0",
            "tmpfs /mnt tmpfs rw 0 0");

    @TempDir
    Path folder;

    @Test
    void knowsWhichMountForbidsExecution() {
        assertThat(UserCache.noexec(Path.of("/var/cache"), MOUNTS)).isFalse();
        assertThat(UserCache.noexec(Path.of("/home"), MOUNTS)).isTrue();
        assertThat(UserCache.noexec(Path.of("/home/c/.cache"), MOUNTS)).isTrue();
        assertThat(UserCache.noexec(Path.of("/homes"), MOUNTS)).isFalse();
        assertThat(UserCache.noexec(Path.of("/home/a b/.cache"), MOUNTS)).as("an inner mount").isFalse();
        assertThat(UserCache.noexec(Path.of("/mnt/x"), MOUNTS)).as("the last mount covers the one before").isFalse();
    }

    @Test
    void tellsWhyAFolderCanNotBeUsed() throws IOException {
        assertThat(UserCache.problem(folder.resolve("new"))).isNull();
        assertThat(folder.resolve("new")).isEmptyDirectory();
        Path file = Files.createFile(folder.resolve("file"));
        assertThat(UserCache.problem(file.resolve("cache"))).contains(file.toString(), "can't be written").doesNotContain("java.nio");
    }
}
