package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Everything that a run does to its files fails in turn: the message names file and cause, nothing that was saved is lost, and
 * once the fault is mended the run goes on to the bits of one that met none. A build takes turns with the kinds of faults;
 * {@code -Dmetalora.faults=all} tries each at every operation.
 */
class FaultInjectionTest {

    private static final boolean ALL = "all".equals(System.getProperty("metalora.faults"));

    @TempDir
    private Path folder;

    private final FaultyFileSystem files = new FaultyFileSystem();
    private Path tasks;
    private Path straight;

    @BeforeEach
    void trainWithoutFaults() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
        straight = folder.resolve("straight");
        TrainingRun.start(config(straight), TrainListener.SILENT, () -> false);
    }

    private TrainConfig config(Path output) {
        return RunFixture.config(tasks, output, "meta.iterations=3", "compute.checkpoint_every=1", "meta.inner_steps=1", "compute.threads=1");
    }

    /** The same with its output on the file system that fails. */
    private TrainConfig faulty(Path output) {
        return config(output).toBuilder().output(files.path(output)).build();
    }

    @Test
    void aTrainingThatFailsAtAnyOperationGoesOn() throws IOException {
        eachFault((number, fault, lasting) -> {
            Path run = folder.resolve("run-" + number + fault + lasting);
            files.failAt(number, fault, lasting);
            String failure = failureOf(run, () -> TrainingRun.start(faulty(run), TrainListener.SILENT, () -> false));
            goesOn(run, failure);
        });
    }

    /** The run was stopped after its first iteration, so that there is an adapter to replace and a log to cut. */
    @Test
    void aResumedTrainingThatFailsAtAnyOperationGoesOn() throws IOException {
        Path stopped = folder.resolve("stopped");
        TrainingRun.start(config(stopped), TrainListener.SILENT, afterOneIteration());
        Files.writeString(stopped.resolve(".metrics.jsonl.tmp-1"), "of a write that was killed");
        eachFault((number, fault, lasting) -> {
            Path run = folder.resolve("run-" + number + fault + lasting);
            copy(stopped, run);
            files.failAt(number, fault, lasting);
            String failure = failureOf(run, () -> TrainingRun.resume(files.path(run), TrainListener.SILENT, () -> false));
            assertThat(run.resolve("config.resolved.yaml")).as(failure).exists();
            goesOn(run, failure);
        });
    }

    private static void copy(Path from, Path to) throws IOException {
        try (var all = Files.walk(from)) {
            for (Path file : all.toList()) {
                Files.copy(file, to.resolve(from.relativize(file)));
            }
        }
    }

    /** Stops before the second iteration's first pass. */
    private BooleanSupplier afterOneIteration() {
        var asked = new AtomicInteger();
        return () -> asked.incrementAndGet() > 4;
    }

    private interface Trial {
        void fail(int number, Fault fault, boolean lasting) throws IOException;
    }

    /** Until a trial ends without having met its fault. */
    private void eachFault(Trial trial) throws IOException {
        var hit = new ArrayList<String>();
        boolean failed = true;
        for (int number = 1; failed; number++) {
            for (Fault fault : Fault.values()) {
                for (boolean lasting : new boolean[] {false, true}) {
                    int turn = 2 * fault.ordinal() + (lasting ? 1 : 0);
                    if (ALL || number % (2 * Fault.values().length) == turn) {
                        trial.fail(number, fault, lasting);
                        failed = files.failed();
                    }
                }
            }
            if (failed) {
                hit.add(files.firstFailed());
            }
        }
        assertThat(hit).hasSizeGreaterThan(30)
                .anyMatch(operation -> operation.startsWith("rename to checkpoint-"))
                .anyMatch(operation -> operation.equals("force metrics.jsonl"))
                .anyMatch(operation -> operation.startsWith("write .adapter_model.safetensors.tmp-"));
    }

    /** What a run said that met a fault; a fault that costs nothing may be passed over. */
    private String failureOf(Path run, Runnable training) {
        try {
            training.run();
            return null;
        } catch (UncheckedIOException | InputException e) {
            return e.getMessage();
        }
    }

    private void goesOn(Path run, String failure) throws IOException {
        String what = files.failed() ? files.firstFailed() + " failed: " + failure : "nothing failed";
        if (files.failed() && failure != null) {
            assertThat(failure).as(what).contains(run.toString());
        }
        files.mend();
        if (Files.exists(run.resolve("config.resolved.yaml"))) {
            TrainingRun.resume(run, TrainListener.SILENT, () -> false);
        } else {
            TrainingRun.start(config(run), TrainListener.SILENT, () -> false);
        }
        assertThat(RunFixture.adapter(run)).as(what).isEqualTo(RunFixture.adapter(straight));
        assertThat(RunFixture.metrics(run)).as(what).isEqualTo(RunFixture.metrics(straight));
        assertThat(run.resolve("draws.jsonl")).as(what).hasSameBinaryContentAs(straight.resolve("draws.jsonl"));
        try (var all = Files.walk(run)) {
            assertThat(all.map(file -> file.getFileName().toString())).as(what).noneMatch(name -> name.contains("tmp-"));
        }
    }
}
