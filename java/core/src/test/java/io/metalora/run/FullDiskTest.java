package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.files.JavaCommand;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Disks that are really full or read-only: file systems in memory, in a namespace of a child's own. */
@EnabledOnOs(OS.LINUX)
class FullDiskTest {

    private static final List<String> NAMESPACE = List.of("unshare", "--map-root-user", "--mount");

    @TempDir
    private Path folder;

    @Test
    @Timeout(value = 5, unit = TimeUnit.MINUTES)
    void aRunGoesOnWhenThereIsSpaceAgain() throws IOException, InterruptedException {
        Assumptions.assumeTrue(said(List.of("mount", "-t", "tmpfs", "tmpfs", folder.toString())).isEmpty(),
                "file systems can't be mounted here");
        assertThat(said(JavaCommand.of(FullDisk.class, folder))).isEqualTo("fine");
    }

    /** What a command in the namespace said; "" where it said nothing and ended well. */
    private String said(List<String> command) throws IOException, InterruptedException {
        var whole = new ArrayList<>(NAMESPACE);
        whole.addAll(command);
        try {
            Process process = new ProcessBuilder(whole).redirectErrorStream(true).start();
            String said = new String(process.getInputStream().readAllBytes()).strip();
            int code = process.waitFor();
            return code == 0 || !said.isEmpty() ? said : "exit code " + code;
        } catch (IOException e) {
            return "no " + NAMESPACE.getFirst() + " here";
        }
    }
}
