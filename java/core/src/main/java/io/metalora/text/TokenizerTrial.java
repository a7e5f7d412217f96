package io.metalora.text;

import io.metalora.bindings.UserCache;
import io.metalora.file.Sha256;
import io.metalora.runtime.InputException;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.CodeSource;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Tries a tokenizer in a separate JVM, since the tokenizers library may abort the process that uses it. What has passed is
 * remembered by its hash, in this process and in the user's cache; the embedded model's tokenizer is known beforehand.
 */
final class TokenizerTrial {

    /** System property: {@code off} omits trials. */
    static final String PROPERTY = "metalora.tokenizer.trial";

    /** Of the trial: what passed an easier one is tried again. */
    private static final int EDITION = 1;

    private static final long LIMIT_SECONDS = 120;
    /** Exit codes above it mean that a signal ended the process. */
    private static final int SIGNAL = 128;
    private static final int KILLED = SIGNAL + 9;
    /** What others send to end a process in an orderly way: SIGHUP, SIGINT, SIGTERM. */
    private static final Set<Integer> STOPPED = Set.of(SIGNAL + 1, SIGNAL + 2, SIGNAL + 15);
    private static final int MOST_OUTPUT = 1 << 16;

    /** A class of each jar that the process needs. */
    private static final List<String> NEEDED = List.of(TokenizerTrialMain.class.getName(), UserCache.class.getName(),
            "ai.djl.huggingface.tokenizers.HuggingFaceTokenizer", "ai.djl.util.Platform", "org.slf4j.LoggerFactory",
            "com.google.gson.Gson");
    /** The environment's options for this JVM are not for another: a heap's size, a debugger's port. */
    private static final List<String> JVM_OPTIONS = List.of("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS");

    private static final Set<String> passed = new HashSet<>(known());

    private TokenizerTrial() {
    }

    /**
     * Returns once the file has passed, or where no trial can be held.
     *
     * @throws InputException if the library ends on it, or takes too long
     */
    static synchronized void require(TokenizerFile file) {
        if (unavailable().isPresent()) {
            return;
        }
        String hash = HexFormat.of().formatHex(Sha256.digest().digest(file.json()));
        if (passed.contains(hash)) {
            return;
        }
        Path mark = UserCache.folder().resolve("tokenizers-" + TokenizerLibrary.version() + "-tried-" + EDITION).resolve(hash);
        if (Files.exists(mark) || hold(file, LIMIT_SECONDS)) {
            passed.add(hash);
            remember(mark);
        }
    }

    /** Why files can't be tried here, so that they are only checked; empty where they can. */
    static Optional<String> unavailable() {
        if (System.getProperty(PROPERTY, "").equals("off")) {
            return Optional.of("-D" + PROPERTY + "=off was given");
        }
        if (!Files.isExecutable(java())) {
            return Optional.of("this runtime has no " + java());
        }
        return classPath().isPresent() ? Optional.empty() : Optional.of("the jars do not lie as files");
    }

    /** Whether the file passed; false where the process ended for a reason of its own, which says nothing about the file. */
    static boolean hold(TokenizerFile file, long seconds) {
        Process process;
        try {
            var builder = new ProcessBuilder(command(file)).redirectErrorStream(true)
                    .directory(Path.of(System.getProperty("java.io.tmpdir")).toFile());
            builder.environment().keySet().removeAll(JVM_OPTIONS);
            process = builder.start();
        } catch (IOException e) {
            return false;
        }
        // Both pipes at once: neither side ever waits for the other.
        var output = CompletableFuture.supplyAsync(() -> output(process.getInputStream()), Thread::startVirtualThread);
        Thread.startVirtualThread(() -> feed(process.getOutputStream(), file));
        try {
            if (!process.waitFor(seconds, TimeUnit.SECONDS)) {
                throw new InputException(file.file() + " can't be used: with it the tokenizers library took more than " + seconds
                        + " seconds for texts of a few thousand characters; fetch it again, or, if this machine is very busy, try again");
            }
            return passed(file.file(), process.exitValue(), output);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        } finally {
            process.destroyForcibly();
        }
    }

    /**
     * What the exit code of the process means: true where it passed, false where it ended for a reason of its own.
     *
     * @param output of the process, complete once it has ended
     * @throws InputException where a signal ended it
     */
    static boolean passed(Path file, int exit, CompletableFuture<String> output) {
        if (exit <= SIGNAL) {
            return exit == 0;
        }
        if (STOPPED.contains(exit)) {
            throw new InputException(file + " was not tried to the end: signal " + (exit - SIGNAL) + " stopped the process that tried it; "
                    + "run this again");
        }
        if (exit == KILLED) {
            throw new InputException(file + " can't be used: the system killed the process that tried it; memory may be short: close other "
                    + "programs or take a machine with more, else fetch the file again");
        }
        throw new InputException(file + " can't be used: the tokenizers library (" + TokenizerLibrary.version()
                + ") ends the process that uses it" + reason(output.join()) + "; the file is damaged, or made for another version: fetch "
                + "it again or save it with a current version of transformers");
    }

    private static List<String> command(TokenizerFile file) {
        var command = new ArrayList<>(List.of(java().toString(), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
                "-XX:-CreateCoredumpOnCrash", "-XX:+ErrorFileToStderr", "--enable-native-access=ALL-UNNAMED"));
        Path library = TokenizerLibrary.file();
        if (library != null) {
            command.add("-DRUST_LIBRARY_PATH=" + library);
        }
        for (String key : System.getProperties().stringPropertyNames()) {
            if (TokenizerLibrary.SETTINGS.contains(key)) {
                command.add("-D" + key + "=" + System.getProperty(key));
            }
        }
        command.addAll(List.of("-cp", classPath().orElseThrow(), TokenizerTrialMain.class.getName()));
        return command;
    }

    private static Path java() {
        return Path.of(System.getProperty("java.home"), "bin", "java");
    }

    /** The jars of {@link #NEEDED}: wherever they come from here, a class path or a module path, there they form a class path. */
    private static Optional<String> classPath() {
        var places = new LinkedHashSet<String>();
        for (String name : NEEDED) {
            try {
                CodeSource source = Class.forName(name, false, TokenizerTrial.class.getClassLoader()).getProtectionDomain().getCodeSource();
                if (source == null || source.getLocation() == null || !source.getLocation().getProtocol().equals("file")) {
                    return Optional.empty();
                }
                places.add(Path.of(source.getLocation().toURI()).toString());
            } catch (ClassNotFoundException | URISyntaxException e) {
                return Optional.empty();
            }
        }
        return Optional.of(String.join(System.getProperty("path.separator"), places));
    }

    private static void feed(OutputStream process, TokenizerFile file) {
        try (var out = new DataOutputStream(process)) {
            out.writeInt(file.vocabSize());
            out.writeUTF(file.patternCharacters());
            out.write(file.json());
        } catch (IOException e) {
            // It ended before it had read all; its exit code says why.
        }
    }

    /** What it says, read to the end, so that it never waits for a reader; kept up to a limit. */
    private static String output(InputStream in) {
        var kept = new ByteArrayOutputStream();
        var buffer = new byte[1 << 14];
        try (in) {
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                kept.write(buffer, 0, Math.min(n, MOST_OUTPUT - kept.size()));
            }
        } catch (IOException e) {
            // What was read so far must do.
        }
        return kept.toString(StandardCharsets.UTF_8);
    }

    /** What a Rust panic says: the line after "thread ... panicked at FILE". */
    private static String reason(String output) {
        List<String> lines = output.lines().toList();
        for (int i = 0; i + 1 < lines.size(); i++) {
            if (lines.get(i).contains("panicked at")) {
                return " (" + lines.get(i + 1).strip() + ")";
            }
        }
        return "";
    }

    private static void remember(Path mark) {
        try {
            Files.createDirectories(mark.getParent());
            if (Files.notExists(mark)) {
                Files.createFile(mark);
            }
        } catch (IOException e) {
            // Then the next process tries it again.
        }
    }

    /** SHA-256 of tokenizers that have passed, one a line, then what they are. */
    private static Set<String> known() {
        try (InputStream in = TokenizerTrial.class.getResourceAsStream("known-tokenizers.txt")) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().map(line -> line.split(" ", 2)[0]).collect(Collectors.toSet());
        } catch (IOException e) {
            throw new IllegalStateException("known-tokenizers.txt can't be read from the jar", e);
        }
    }
}
