package io.metalora.launcher;

import io.metalora.files.JavaCommand;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Assumptions;
import org.opentest4j.TestAbortedException;

/** The launcher in a virtual machine of its own, as users run it. */
final class JavaProcess {

    private JavaProcess() {
    }

    /** Starts it with its streams going to {@code out} and {@code err} in the folder. */
    static Process start(Path folder, List<String> options, Object... args) throws IOException {
        return start(folder, command(options, args));
    }

    static Process start(Path folder, List<String> command) throws IOException {
        return new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile()).redirectError(folder.resolve("err").toFile())
                .start();
    }

    /** The command line, with options of the virtual machine. */
    static List<String> command(List<String> options, Object... args) {
        var all = new ArrayList<>(JavaCommand.FEW_SECONDS);
        all.addAll(options); // the later of two counts
        return JavaCommand.with(all, Main.class, args);
    }

    /**
     * Starts it with a terminal of its own, whose keys are what is written to the process' input and whose screen goes to
     * {@code out}. Skipped where there is no script(1) to make one.
     */
    static Process startOnTerminal(Path folder, Object... args) throws IOException {
        var script = Path.of("/usr/bin/script");
        Assumptions.assumeTrue(Files.isExecutable(script), "no " + script + " here, which makes terminals");
        assumeHeard("/proc/self/status", "INT", 1 << 1);
        String line = command(List.of(), args).stream().map(word -> "'" + word.replace("'", "'\\''") + "'")
                .collect(Collectors.joining(" ", "exec ", ""));
        var builder = new ProcessBuilder(script.toString(), "-qefc", line, "/dev/null").redirectErrorStream(true)
                .redirectOutput(folder.resolve("out").toFile());
        builder.environment().put("TERM", "xterm");
        builder.environment().put("SHELL", "/bin/sh");
        Files.createFile(folder.resolve("err"));
        return builder.start();
    }

    /** Sends Ctrl-C. */
    static void interrupt(Process process) throws IOException, InterruptedException {
        signal(process, "INT");
    }

    /**
     * Sends a signal. Where this process ignores it (a job in the background of a script, or under nohup), so do those it
     * starts, and the test is skipped.
     */
    static void signal(Process process, String name) throws IOException, InterruptedException {
        long bit = switch (name) {
            case "HUP" -> 1;
            case "INT" -> 1 << 1;
            case "TERM" -> 1 << 14;
            default -> throw new IllegalArgumentException(name);
        };
        try {
            assumeHeard("/proc/" + process.pid() + "/status", name, bit);
        } catch (TestAbortedException e) {
            process.destroyForcibly().waitFor(); // or it goes on in a folder that is removed now
            throw e;
        }
        new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).start().waitFor();
    }

    /** Skips the test where a process ignores a signal. */
    private static void assumeHeard(String status, String name, long bit) throws IOException {
        for (String line : Files.readAllLines(Path.of(status))) {
            if (line.startsWith("SigIgn:")) {
                Assumptions.assumeTrue((Long.parseUnsignedLong(line.substring(7).strip(), 16) & bit) == 0, name + " is ignored here");
            }
        }
    }

    static Cli.Result run(Path folder, List<String> options, Object... args) throws IOException, InterruptedException {
        return await(start(folder, options, args), folder);
    }

    static Cli.Result await(Process process, Path folder) throws IOException, InterruptedException {
        if (!process.waitFor(2, TimeUnit.MINUTES)) {
            process.destroyForcibly();
            throw new AssertionError("still running: " + Files.readString(folder.resolve("err")));
        }
        return new Cli.Result(process.exitValue(), Files.readString(folder.resolve("out")), Files.readString(folder.resolve("err")));
    }
}
