package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The script ./metalora in a checkout whose build writes a line into its jars, in place as Maven does, and whose Java prints
 * its jars, waits, and prints them again.
 */
@EnabledOnOs(OS.LINUX)
class LauncherScriptTest {

    private static final Path SCRIPT = Path.of("..", "..", "metalora");

    @TempDir
    private Path folder;

    private final List<Process> started = new ArrayList<>();
    private Path checkout;
    private Path source;

    @BeforeEach
    void makeCheckout() throws IOException, InterruptedException {
        assertThat(SCRIPT).isExecutable();
        Assumptions.assumeTrue(new ProcessBuilder("sh", "-c", "command -v flock").start().waitFor() == 0, "flock is there");
        checkout = Files.createDirectories(folder.resolve("a checkout"));
        Files.copy(SCRIPT, checkout.resolve("metalora"), StandardCopyOption.COPY_ATTRIBUTES);
        source = Files.writeString(Files.createDirectories(checkout.resolve("java/launcher/src/main")).resolve("Source.java"), "one");
        Files.writeString(checkout.resolve("pom.xml"), "");
        Path jdk = Files.createDirectories(folder.resolve("jdk/bin")).getParent();
        Files.writeString(jdk.resolve("release"), "JAVA_VERSION=\"25.0.1\"\n");
        script(jdk.resolve("bin/java"), """
                while [[ $1 != -jar ]]; do shift; done
                jars() { cat "$1" "$(dirname "$1")/lib/other.jar" | tr '\\n' ' '; }
                echo "begin $(jars "$2")"
                for ((i = 0; i < 3000; i++)); do [[ ! -e $3 ]] || break; sleep 0.02; done
                echo "end $(jars "$2")"
                """);
        Path tools = Files.createDirectories(folder.resolve("tools"));
        script(tools.resolve("mvn"), """
                mkdir -p java/launcher/target/lib
                cat java/launcher/src/main/Source.java > java/launcher/target/metalora-launcher-0.1.0.jar
                cat java/launcher/src/main/Source.java > java/launcher/target/lib/other.jar
                """);
        script(tools.resolve("cmake"), "");
        script(tools.resolve("c++"), "");
    }

    @AfterEach
    void endWhatRuns() {
        started.forEach(Process::destroyForcibly);
    }

    private static void script(Path file, String text) throws IOException {
        Files.writeString(file, "#!/usr/bin/env bash\n" + text);
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    private Process start(String name) throws IOException {
        var builder = new ProcessBuilder(checkout.resolve("metalora").toString(), folder.resolve("go-" + name).toString())
                .redirectOutput(folder.resolve("out-" + name).toFile()).redirectError(folder.resolve("err-" + name).toFile());
        builder.environment().put("METALORA_JAVA_HOME", folder.resolve("jdk").toString());
        builder.environment().put("PATH", folder.resolve("tools") + ":" + System.getenv("PATH"));
        started.add(builder.start());
        return started.getLast();
    }

    /** Waits until it has said so much. */
    private void awaitOutput(String name, String text) throws IOException, InterruptedException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!Files.readString(folder.resolve("out-" + name)).contains(text)) {
            assertThat(System.nanoTime()).as("%s: %s", name, Files.readString(folder.resolve("err-" + name))).isLessThan(end);
            Thread.sleep(10);
        }
    }

    private void finish(Process process, String name, String jars) throws IOException, InterruptedException {
        Files.createFile(folder.resolve("go-" + name));
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(Files.readString(folder.resolve("out-" + name))).as(Files.readString(folder.resolve("err-" + name)))
                .isEqualTo("begin " + jars + "\nend " + jars + "\n");
        assertThat(process.exitValue()).isZero();
    }

    private void edit(String text) throws IOException {
        Files.writeString(source, text);
    }

    private List<String> copies() throws IOException {
        try (var files = Files.list(checkout.resolve(".run"))) {
            return files.filter(Files::isDirectory).map(file -> file.getFileName().toString()).toList();
        }
    }

    @Test
    void aBuildChangesNothingUnderARun() throws IOException, InterruptedException {
        Process first = start("first");
        awaitOutput("first", "begin oneone");
        edit("two");
        Process second = start("second");
        awaitOutput("second", "begin twotwo");
        assertThat(Files.readString(folder.resolve("err-second"))).contains("metalora: building");
        assertThat(copies()).as("one in use by each").hasSize(2);
        finish(first, "first", "oneone");
        Process third = start("third");
        awaitOutput("third", "begin twotwo");
        assertThat(folder.resolve("err-third")).as("nothing to build").isEmptyFile();
        assertThat(copies()).as("the unused one is gone, the other serves two").hasSize(1);
        finish(second, "second", "twotwo");
        finish(third, "third", "twotwo");
        assertThat(copies()).as("kept for the next").hasSize(1);
    }

    @Test
    void anEditOfTheScriptChangesNothingUnderARun() throws IOException, InterruptedException {
        // While it builds: the shell is then in the middle of the script.
        script(folder.resolve("tools/cmake"), "");
        script(folder.resolve("tools/mvn"), Files.readString(folder.resolve("tools/mvn")) + """
                printf '#!/usr/bin/env bash\\n%4000s\\n' 'echo edited; exit 3' > metalora
                """);
        Process run = start("run");
        awaitOutput("run", "begin oneone");
        finish(run, "run", "oneone");
    }

    @Test
    void whereThereCanBeNoCopyTheBuildsOwnJarsServe() throws IOException, InterruptedException {
        Files.createDirectories(checkout.resolve(".run/lock"));
        Process run = start("run");
        finish(run, "run", "oneone");
        assertThat(copies()).containsExactly("lock");
    }

    @Test
    void aWorkingDirectoryThatIsGoneIsSaid() throws IOException, InterruptedException {
        Path gone = Files.createDirectory(folder.resolve("gone"));
        Process run = new ProcessBuilder("bash", "-c", "rmdir \"$PWD\" && exec \"$0\" doctor", checkout.resolve("metalora").toString())
                .directory(gone.toFile()).redirectError(folder.resolve("err").toFile()).start();
        assertThat(run.waitFor()).isEqualTo(1);
        assertThat(folder.resolve("err")).content().contains("metalora: the working directory is gone").doesNotContain("building");
    }

    @Test
    void itTellsWhichJdkItTakes() throws IOException, InterruptedException {
        var builder = new ProcessBuilder(checkout.resolve("metalora").toString(), "--jdk").redirectErrorStream(true);
        builder.environment().put("METALORA_JAVA_HOME", folder.resolve("jdk").toString());
        assertThat(new String(builder.start().getInputStream().readAllBytes())).isEqualTo(folder.resolve("jdk") + "\n");
        assertThat(checkout.resolve("java/launcher/target")).doesNotExist();
    }

    /** In which Java would take no letter beyond ASCII. */
    @ParameterizedTest
    @CsvSource({"C, C.UTF-8", "POSIX, C.UTF-8", "C.UTF-8, C.UTF-8"})
    void withoutALocaleTextIsUtf8(String locale, String taken) throws IOException, InterruptedException {
        Assumptions.assumeTrue(new ProcessBuilder("sh", "-c", "command -v locale").start().waitFor() == 0, "locale(1) is there");
        script(folder.resolve("jdk/bin/java"), "echo \"$LC_ALL\"");
        Path build = Files.createDirectories(checkout.resolve("java/launcher/target/lib")).getParent();
        Files.createFile(build.resolve("lib/other.jar"));
        Files.createFile(build.resolve("metalora-launcher-0.1.0.jar"));
        var builder = new ProcessBuilder(checkout.resolve("metalora").toString()).redirectErrorStream(true)
                .redirectOutput(folder.resolve("out").toFile());
        builder.environment().put("METALORA_JAVA_HOME", folder.resolve("jdk").toString());
        builder.environment().put("LC_ALL", locale);
        assertThat(builder.start().waitFor()).isZero();
        assertThat(folder.resolve("out")).content().isEqualTo(taken + "\n");
    }
}
