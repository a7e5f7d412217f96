package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Java without a locale, as in cron and containers, where it has no letters beyond ASCII. The script is UTF-8 wherever tests run. */
@EnabledOnOs(OS.LINUX)
class LocalesTest {

    @TempDir
    private Path folder;

    private Cli.Result run(String before, String locale, String arguments) throws IOException, InterruptedException {
        String java = JavaProcess.command(List.of()).stream().map(word -> "'" + word + "'").collect(Collectors.joining(" "));
        Path script = Files.writeString(folder.resolve("script"), "set -e\ncd '" + folder + "'\n" + before + "\nLC_ALL=" + locale + " exec " + java
                + " " + arguments + "\n");
        return JavaProcess.await(JavaProcess.start(folder, List.of("sh", script.toString())), folder);
    }

    private static void refused(Cli.Result result) {
        assertThat(result.code()).as(result.err()).isEqualTo(2);
        assertThat(result.err()).contains("LC_ALL=C.UTF-8").doesNotContain("Exception");
        assertThat(result.out()).isEmpty();
    }

    /** Else the model would continue another text. */
    @Test
    void aPromptOfWhichLettersAreLostIsRefused() throws IOException, InterruptedException {
        String arguments = "generate --max-new-tokens 3 --model '" + Cli.model() + "' --prompt 'h\u00e4llo'";
        refused(run("", "C", arguments));
        assertThat(run("", "C.UTF-8", arguments).code()).isZero();
    }

    @Test
    void bytesThatAreNoUtf8AreRefusedInEveryLocale() throws IOException, InterruptedException {
        refused(run("p=$(printf 'h\\344llo')", "C.UTF-8", "generate --max-new-tokens 3 --model '" + Cli.model() + "' --prompt \"$p\""));
    }

    @Test
    void aTaskThatCannotBeNamedIsRefused() throws IOException, InterruptedException {
        Path tasks = Cli.tasks(folder);
        String arguments = "eval --samples 1 --model '" + Cli.model() + "' --tasks '" + tasks + "'";
        refused(run("cp -r tasks/colour tasks/f\u00e4rbung", "C", arguments));
        assertThat(run("", "C.UTF-8", arguments).out()).contains("f\u00e4rbung");
    }
}
