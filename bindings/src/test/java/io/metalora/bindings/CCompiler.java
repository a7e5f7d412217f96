package io.metalora.bindings;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The C compiler that built the native core; it is there wherever these tests run. */
final class CCompiler {
    private CCompiler() {}

    static Path sharedLibrary(Path folder, String name, String source) throws IOException, InterruptedException {
        Path code = Files.writeString(folder.resolve(name + ".c"), source);
        Path library = folder.resolve("lib" + name + ".so");
        Output output = compile("-shared", "-fPIC", "-o", library.toString(), code.toString());
        if (output.exit() != 0) {
            throw new IOException("the C compiler failed:\n" + output.text());
        }
        return library;
    }

    static Output compile(String... arguments) throws IOException, InterruptedException {
        var command = new ArrayList<>(List.of(System.getenv().getOrDefault("CC", "cc")));
        command.addAll(List.of(arguments));
        return run(command);
    }

    static Output run(List<String> command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String text = new String(process.getInputStream().readAllBytes());
        return new Output(process.waitFor(), text);
    }

    record Output(int exit, String text) {}
}
