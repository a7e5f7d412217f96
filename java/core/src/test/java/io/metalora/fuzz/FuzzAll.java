package io.metalora.fuzz;

import java.io.File;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;

/**
 * Searches for inputs that a reader fails on, guided by coverage: {@code FuzzAll CLASSES FOLDER SECONDS [PART OF A NAME]} fuzzes
 * every target of a folder of classes for so long, each in a process of its own. The inputs found interesting are kept in FOLDER/TARGET/corpus, so that the
 * next search goes on from there, the failing ones beside it, what was said in FOLDER/TARGET/log. Ends with 1 if any failed.
 */
public final class FuzzAll {

    private static final Pattern EXECUTIONS = Pattern.compile("(?m)^#(\\d+)\\s");

    /** As many different failures of a target are looked for before it is given up. */
    private static final int FINDINGS = 20;

    private FuzzAll() {
    }

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[1]);
        int seconds = Integer.parseInt(args[2]);
        String part = args.length > 3 ? args[3] : "";
        List<Method> targets = targets(Path.of(args[0]));
        if (targets.isEmpty()) {
            throw new IllegalArgumentException(args[0] + " has no class whose name ends in FuzzTest");
        }
        long findings = 0;
        for (Method target : targets) {
            String name = target.getDeclaringClass().getSimpleName() + "." + target.getName();
            if (name.contains(part)) {
                findings += fuzz(target, Files.createDirectories(folder.resolve(name)), name, seconds);
            }
        }
        System.out.println(findings == 0 ? "nothing found in " + args[0] : findings + " inputs found on which a reader fails; a seed each, please, in the "
                + "resource folder of the target");
        System.exit(findings == 0 ? 0 : 1);
    }

    private static List<Method> targets(Path classes) throws IOException, ClassNotFoundException {
        var targets = new ArrayList<Method>();
        try (var files = Files.walk(classes)) {
            for (Path file : files.filter(f -> f.toString().endsWith("FuzzTest.class")).sorted().toList()) {
                String name = classes.relativize(file).toString().replace(File.separatorChar, '.').replaceFirst("\\.class$", "");
                targets.addAll(MutatedSeeds.targets(Class.forName(name, false, FuzzAll.class.getClassLoader())));
            }
        }
        return targets;
    }

    private static long fuzz(Method target, Path folder, String name, int seconds) throws IOException, InterruptedException {
        Path log = folder.resolve("log");
        var command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx1g",
                "--enable-native-access=ALL-UNNAMED", "-XX:+EnableDynamicAgentLoading", "-Djazzer.hooks=true",
                "-Djava.util.logging.config.file=" + Files.write(folder.resolve("no-logging"), new byte[0]), "-cp",
                System.getProperty("java.class.path"), "com.code_intelligence.jazzer.Jazzer",
                "--target_class=" + target.getDeclaringClass().getName(), "--target_method=" + target.getName(),
                // Readers name files and compile patterns that their input gives: that is what they are for.
                "--disabled_hooks=com.code_intelligence.jazzer.sanitizers.FilePathTraversal,"
                        + "com.code_intelligence.jazzer.sanitizers.RegexInjection",
                "--instrumentation_includes=io.metalora.**,com.fasterxml.jackson.core.**,org.snakeyaml.engine.**,com.hubspot.jinjava.tree.**,"
                        + "com.hubspot.jinjava.el.ext.**",
                "--keep_going=" + FINDINGS, "--reproducer_path=" + folder, "-artifact_prefix=" + folder + "/", "-timeout=150",
                "-max_total_time=" + seconds, Files.createDirectories(folder.resolve("corpus")).toString()));
        // Jazzer takes lists with the platform's separator.
        command.replaceAll(word -> word.startsWith("--instr") || word.startsWith("--disabled") ? word.replace(",", File.pathSeparator) : word);
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
        Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        int code = process.waitFor();
        String said = Files.readString(log);
        long runs = EXECUTIONS.matcher(said).results().mapToLong(found -> Long.parseLong(found.group(1))).max().orElse(0);
        Path counter = folder.resolve("executions");
        long all = runs + (Files.exists(counter) ? Long.parseLong(Files.readString(counter).strip()) : 0);
        Files.writeString(counter, all + "\n");
        long findings = Pattern.compile("(?m)^== Java Exception|^==\\d+== ERROR").matcher(said).results().count();
        System.out.printf("%-36s %,12d executions (%,d in all), %d findings%s%n", name, runs, all, findings,
                code == 0 || findings > 0 ? "" : "; it ended with " + code + ", see " + log);
        return code == 0 ? findings : Math.max(1, findings);
    }
}
