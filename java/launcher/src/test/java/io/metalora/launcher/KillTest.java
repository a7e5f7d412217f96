package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.files.JavaCommand;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * {@code train} as users run it, killed by SIGKILL at random moments of loading, training, evaluating and writing the report, and
 * each time gone on with: at the end all is as if nothing had happened. {@code -Dmetalora.kills=1000} kills more often than a
 * build does, {@code -Dmetalora.kills.seed} at other moments.
 */
@DisabledOnOs(OS.WINDOWS)
class KillTest {

    private static final int KILLS = Integer.getInteger("metalora.kills", 2); // of each method
    private static final long SEED = Long.getLong("metalora.kills.seed", 1);
    private static final int MOST_A_RUN = 5;
    private static final long MOST_MINUTES = 5;

    private static final String STARTING = "1 starting";
    private static final String TRAINING = "2 training";
    private static final String EVALUATING = "3 evaluating";
    private static final String REPORTED = "4 reported";
    private static final List<String> REQUIRED = List.of(TRAINING, EVALUATING);

    @TempDir
    private Path folder;

    /** Of a process that nobody kills; about the same for all methods. */
    private static Pace pace;

    /**
     * How fast a run is, in nanoseconds.
     *
     * @param loading from its process' start to the training's
     * @param working from there to the end
     */
    private record Pace(long loading, long working) {
    }

    /** What a run comes to. */
    private record Result(Map<String, byte[]> adapters, String draws, List<ObjectNode> metrics, String table) {

        private static Result of(Path run, String out) throws IOException {
            var mapper = new ObjectMapper();
            var metrics = new ArrayList<ObjectNode>();
            for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
                metrics.add(((ObjectNode) mapper.readTree(line)).without(List.of("seconds", "tokens_per_second")));
            }
            String table = out.substring(out.indexOf("Accuracy on "), out.indexOf("device   "));
            return new Result(adapters(run), Files.readString(run.resolve("draws.jsonl")), metrics, table);
        }

        /** The files of all adapters, whether there is one or one a task. */
        private static Map<String, byte[]> adapters(Path run) throws IOException {
            var adapters = new TreeMap<String, byte[]>();
            try (var files = Files.walk(run)) {
                for (Path file : files.filter(file -> file.getFileName().toString().startsWith("adapter_")).toList()) {
                    adapters.put(run.relativize(file).toString(), Files.readAllBytes(file));
                }
            }
            assertThat(adapters).isNotEmpty();
            return adapters;
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"meta-lora", "joint-lora", "separate-lora", "asymmetric-lora", "meta-lora meta.composition=size",
            "meta-lora meta.composition=loss", "meta-lora meta.composition=agree", "meta-lora meta.composition=cover meta.aggregation=pcgrad",
            "meta-lora adapter.kind=mixture meta.adapts=heads-and-router optimizer.ema=0.9 meta.inner_rate_lr=0.1"})
    void endsAsIfItHadNeverBeenKilled(String method) throws IOException, InterruptedException {
        Path tasks = Cli.tasks(folder);
        if (pace == null) {
            pace = pace(method, tasks);
        }
        Path straight = folder.resolve("straight");
        Result expected = end(method, tasks, straight, method);
        var files = names(straight);

        var random = new Random(SEED);
        int kills = 0;
        var where = new TreeMap<String, Integer>();
        for (int number = 0; kills < KILLS || missing(where).isPresent(); number++) {
            Path run = folder.resolve("run-" + number);
            var moments = new ArrayList<String>();
            int most = 2 + random.nextInt(MOST_A_RUN - 1);
            for (int again = 0; again < most && (kills < KILLS || missing(where).isPresent()); again++) {
                Process process = train(method, tasks, run);
                var missing = missing(where);
                long moment = moment(random);
                if (missing.isPresent()) { // each of these once at least, however fast the machine is just now
                    awaitStage(process, run, missing.get());
                    moment = (long) (random.nextDouble() * pace.working() / 10);
                }
                boolean ended = process.waitFor(moment, TimeUnit.NANOSECONDS);
                process.toHandle().destroyForcibly();
                process.waitFor();
                if (!ended) {
                    kills++;
                    moments.add(moment / 1_000_000 + " ms" + missing.map(stage -> " after it came to " + stage).orElse(""));
                    where.merge(stage(run), 1, Integer::sum);
                }
            }
            String what = method + ", seed " + SEED + ", run " + number + ", killed after " + moments;
            assertThat(end(method, tasks, run, what)).as(what).usingRecursiveComparison().isEqualTo(expected);
            assertThat(names(run)).as(what).isEqualTo(files);
            delete(run);
        }
        System.out.println(kills + " kills of " + method + ": " + where);
    }

    private static Optional<String> missing(Map<String, Integer> where) {
        return REQUIRED.stream().filter(stage -> !where.containsKey(stage)).findFirst();
    }

    /** Most while there is something to lose. */
    private static long moment(Random random) {
        return random.nextInt(10) == 0 ? (long) (random.nextDouble() * pace.loading())
                : pace.loading() + (long) (random.nextDouble() * pace.working());
    }

    private Pace pace(String method, Path tasks) throws IOException, InterruptedException {
        Path run = folder.resolve("measured");
        long begin = System.nanoTime();
        Process process = train(method, tasks, run);
        awaitStage(process, run, TRAINING);
        long training = System.nanoTime();
        assertThat(exitCode(process)).as(Files.readString(folder.resolve("err"))).isZero();
        return new Pace(training - begin, System.nanoTime() - training);
    }

    /** Begins the run, or goes on with it, to its end: in this process, which needs no second to start. */
    private Result end(String method, Path tasks, Path run, String what) throws IOException {
        var result = Cli.run(arguments(method, tasks, run).toArray());
        assertThat(result.code()).as(what + ": " + result.err()).isZero();
        return Result.of(run, result.out());
    }

    /** Until the run has come so far, or its process has ended. */
    private static void awaitStage(Process process, Path run, String stage) throws IOException, InterruptedException {
        long end = System.nanoTime() + TimeUnit.MINUTES.toNanos(MOST_MINUTES);
        while (process.isAlive() && stage(run).compareTo(stage) < 0) {
            assertThat(System.nanoTime()).as("it hangs before " + stage).isLessThan(end);
            Thread.sleep(1);
        }
    }

    private static int exitCode(Process process) throws InterruptedException {
        if (!process.waitFor(MOST_MINUTES, TimeUnit.MINUTES)) {
            process.destroyForcibly();
            throw new AssertionError("it hangs");
        }
        return process.exitValue();
    }

    /** Starts the run, or goes on with it, in a process of its own. */
    private Process train(String method, Path tasks, Path run) throws IOException {
        return new ProcessBuilder(JavaCommand.of(Main.class, arguments(method, tasks, run).toArray()))
                .redirectOutput(folder.resolve("out").toFile()).redirectError(folder.resolve("err").toFile()).start();
    }

    private List<Object> arguments(String method, Path tasks, Path run) throws IOException {
        var arguments = new ArrayList<Object>(List.of("train"));
        if (Files.exists(run.resolve("config.resolved.yaml"))) {
            arguments.addAll(List.of("--resume", run));
        } else {
            arguments.addAll(List.of(Cli.config(folder, tasks, run), "compute.backend=cpu", "compute.threads=1", "compute.checkpoint_every=1",
                    "meta.iterations=40", "joint.epochs=8"));
            arguments.addAll(List.of(("method=" + method).split(" ")));
        }
        return arguments;
    }

    /** How far a run had come, by what is in its folder. */
    private static String stage(Path run) throws IOException {
        if (Files.exists(run.resolve("report.html"))) {
            return REPORTED;
        }
        if (Files.exists(run.resolve("adapter/adapter_config.json")) || Files.exists(run.resolve("adapters"))) {
            return EVALUATING;
        }
        return Files.exists(run.resolve("config.resolved.yaml")) ? TRAINING : STARTING;
    }

    /** The names of all files of a run: nothing is missing, nothing left over. */
    private static Set<String> names(Path run) throws IOException {
        try (var all = Files.walk(run)) {
            return all.filter(Files::isRegularFile).map(file -> run.relativize(file).toString()).collect(Collectors.toCollection(TreeSet::new));
        }
    }

    private static void delete(Path run) throws IOException {
        try (var all = Files.walk(run)) {
            for (Path file : all.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
