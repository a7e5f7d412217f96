package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import io.metalora.files.EachFault;
import io.metalora.files.FaultyFileSystem.Fault;
import io.metalora.files.FaultyFileSystem;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Everything that a run does to its files fails in turn: the message names file and cause, nothing that was saved is lost, and
 * once the fault is mended the run goes on to the bits of one that met none.
 */
class FaultInjectionTest {

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
        eachFault(name -> {
            Path run = folder.resolve(name);
            String failure = failureOf(run, () -> TrainingRun.start(faulty(run), TrainListener.SILENT, () -> false));
            goesOn(run, failure);
        });
    }

    /** With a copy of the adapter it begins from in its folder, and a hash of that. */
    @Test
    void aTrainingFromAnAdapterThatFailsAtAnyOperationGoesOn() throws IOException {
        Path init = straight.resolve("adapter");
        straight = folder.resolve("straight-on");
        TrainingRun.start(config(straight).with("adapter.init=" + init), TrainListener.SILENT, () -> false);
        eachFault(name -> {
            Path run = folder.resolve(name);
            String failure = failureOf(run, () -> TrainingRun.start(faulty(run).with("adapter.init=" + init), TrainListener.SILENT, () -> false));
            goesOn(run, failure, "adapter.init=" + init);
        });
    }

    /** The run was stopped after its first iteration, so that there is an adapter to replace and a log to cut. */
    @Test
    void aResumedTrainingThatFailsAtAnyOperationGoesOn() throws IOException {
        Path stopped = folder.resolve("stopped");
        TrainingRun.start(config(stopped), TrainListener.SILENT, afterOneIteration());
        Files.writeString(stopped.resolve(".metrics.jsonl.tmp-1"), "of a write that was killed");
        eachFault(name -> {
            Path run = EachFault.copy(stopped, folder.resolve(name));
            String failure = failureOf(run, () -> TrainingRun.resume(files.path(run), TrainListener.SILENT, () -> false));
            assertThat(run.resolve("config.resolved.yaml")).as(failure).exists();
            goesOn(run, failure);
        });
    }

    /** Stops before the second iteration's first pass. */
    private BooleanSupplier afterOneIteration() {
        var asked = new AtomicInteger();
        return () -> asked.incrementAndGet() > 4;
    }

    private void eachFault(EachFault.Trial trial) throws IOException {
        assertThat(EachFault.of(files, trial)).hasSizeGreaterThan(30)
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
            assertThat(e).as(files.firstFailed()).isInstanceOf(placeIsAtFault(run) ? InputException.class : UncheckedIOException.class);
            return e.getMessage();
        }
    }

    /** Whether another output folder would have mended it; only what begins the run tells. */
    private boolean placeIsAtFault(Path run) {
        boolean beginning = List.of("create " + run.getFileName(), "create run.lock", "open run.lock").contains(files.firstFailed());
        return beginning && List.of(Fault.READ_ONLY, Fault.DENIED).contains(files.fault());
    }

    private void goesOn(Path run, String failure, String... overrides) throws IOException {
        String what = files.failed() ? files.firstFailed() + " failed: " + failure : "nothing failed";
        if (files.failed() && failure != null) {
            assertThat(failure).as(what).contains(run.toString());
        }
        files.mend();
        if (Files.exists(run.resolve("config.resolved.yaml"))) {
            TrainingRun.resume(run, TrainListener.SILENT, () -> false);
        } else {
            TrainingRun.start(config(run).with(overrides), TrainListener.SILENT, () -> false);
        }
        assertThat(RunFixture.adapter(run)).as(what).isEqualTo(RunFixture.adapter(straight));
        assertThat(RunFixture.metrics(run)).as(what).isEqualTo(RunFixture.metrics(straight));
        assertThat(run.resolve("draws.jsonl")).as(what).hasSameBinaryContentAs(straight.resolve("draws.jsonl"));
        try (var all = Files.walk(run)) {
            assertThat(all.map(file -> file.getFileName().toString())).as(what).noneMatch(name -> name.contains("tmp-"));
        }
    }
}
