package io.metalora.launcher;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The launcher in a virtual machine of its own, as users run it. */
final class JavaProcess {

    private JavaProcess() {
    }

    /** Starts it with its streams going to {@code out} and {@code err} in the folder. */
    static Process start(Path folder, List<String> options, Object... args) throws IOException {
        var command = new ArrayList<String>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--enable-native-access=ALL-UNNAMED");
        command.addAll(options);
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Main.class.getName()));
        for (Object arg : args) {
            command.add(arg.toString());
        }
        return new ProcessBuilder(command).redirectOutput(folder.resolve("out").toFile()).redirectError(folder.resolve("err").toFile())
                .start();
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
