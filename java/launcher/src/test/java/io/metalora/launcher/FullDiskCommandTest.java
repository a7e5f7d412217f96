package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Verbs that make a folder on a disk that is full: a file system in memory, in a namespace of the process' own. */
@EnabledOnOs(OS.LINUX)
class FullDiskCommandTest {

    @TempDir
    private Path folder;

    private Path disk;

    @BeforeEach
    void assumeDisksCanBeMade() throws IOException, InterruptedException {
        disk = Files.createDirectory(folder.resolve("disk"));
        Assumptions.assumeTrue(on(List.of("true")).code() == 0, "file systems can't be mounted here");
    }

    /** Runs a command with an empty disk of a page; what it leaves on it is the last line of the output. */
    private Cli.Result on(List<String> command) throws IOException, InterruptedException {
        var whole = new ArrayList<>(List.of("unshare", "--map-root-user", "--mount", "sh", "-c", """
                mount -t tmpfs -o size=4k tmpfs '%s' || exit 99
                "$@"
                code=$?
                echo "left:" $(ls -A '%s')
                exit $code
                """.formatted(disk, disk), "sh"));
        whole.addAll(command);
        return JavaProcess.await(JavaProcess.start(folder, whole), folder);
    }

    private void leavesNothing(Object... arguments) throws IOException, InterruptedException {
        var result = on(JavaProcess.command(List.of("-XX:-UsePerfData"), arguments));
        assertThat(result.code()).as(result.err()).isEqualTo(1);
        assertThat(result.err()).contains("error: ", disk.toString(), "No space left on device").doesNotContain("java.");
        assertThat(result.out().lines()).last().as(result.out()).isEqualTo("left:");
    }

    /** It refuses a folder that is there, so that one that is left behind would be in the way of the next try. */
    @Test
    void quickstartLeavesNothing() throws IOException, InterruptedException {
        leavesNothing("quickstart", "--output", disk.resolve("run"));
    }

    @Test
    void adaptLeavesNothingWhereNothingIsDone() throws IOException, InterruptedException {
        leavesNothing("adapt", "--model", Cli.model(), "--adapter", Cli.fixture("adapter"), "--tasks",
                Cli.tasks(folder), "--steps", "1", "--output", disk.resolve("adapted"));
    }
}
