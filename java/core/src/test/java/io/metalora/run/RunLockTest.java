package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.config.TrainConfig;
import io.metalora.files.JavaCommand;
import io.metalora.files.Pipe;
import io.metalora.runtime.DeviceInfo;
import io.metalora.runtime.InputException;
import io.metalora.train.IterationReport;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** One training at a time in a run folder: who comes second is refused, told who was first, and changes nothing. */
@Timeout(value = 5, unit = TimeUnit.MINUTES)
class RunLockTest {

    private static final int ROUNDS = 40;

    @TempDir
    Path folder;
    private Path tasks;

    @BeforeEach
    void writeTasks() throws IOException {
        tasks = RunFixture.tasks(folder.resolve("tasks"));
    }

    /** Another process, ready to race. */
    private final class Racer implements AutoCloseable {
        private final Process process;
        private final PrintWriter in;
        private final BufferedReader out;
        private final String lr;

        Racer(String lr) throws IOException {
            this.lr = lr;
            this.process = new ProcessBuilder(JavaCommand.of(RacingRun.class, tasks.toString(), lr))
                    .redirectError(ProcessBuilder.Redirect.INHERIT).start();
            this.in = new PrintWriter(process.outputWriter(), true);
            this.out = process.inputReader();
        }

        void go(String how, Path run) {
            in.println(how + " " + run);
        }

        String outcome() throws IOException {
            return out.readLine();
        }

        @Override
        public void close() throws InterruptedException {
            in.close(); // the process ends with its input
            process.waitFor();
        }
    }

    @Test
    void ofProcessesThatStartAtOnceOneTrains() throws IOException, InterruptedException {
        try (var one = new Racer("0.001"); var two = new Racer("0.002"); var three = new Racer("0.003")) {
            List<Racer> racers = List.of(one, two, three);
            for (Racer racer : racers) {
                assertThat(racer.outcome()).isEqualTo("ready");
            }
            for (int round = 0; round < ROUNDS; round++) {
                Path run = folder.resolve("run-" + round);
                racers.forEach(racer -> racer.go("start", run));
                Racer winner = null;
                var refusals = new ArrayList<String>();
                for (Racer racer : racers) {
                    String outcome = racer.outcome();
                    if (outcome.equals("trained")) {
                        assertThat(winner).as("round %d: a second one trained", round).isNull();
                        winner = racer;
                    } else {
                        refusals.add(outcome);
                    }
                }
                assertThat(winner).as("round %d: %s", round, refusals).isNotNull();
                for (String refusal : refusals) {
                    assertThat(refusal).startsWith("refused " + run + ": ");
                    if (refusal.contains("another training is at work")) {
                        assertThat(refusal).contains("process " + winner.process.pid() + " on ", ", since 20");
                    } else {
                        assertThat(refusal).contains("already holds a run");
                    }
                }
                assertThat(RunFolder.existing(run).config().optimizer().lr()).as("the winner's settings").isEqualTo(Double.parseDouble(winner.lr));
                assertThat(TrainingRun.resume(run, TrainListener.SILENT, () -> false).done()).isEqualTo(1);
            }
        }
    }

    /** A training of this process that waits within an iteration, while others try. */
    private void whileTraining(Path run, Callable<Void> others) throws Exception {
        var training = new CountDownLatch(1);
        var done = new CountDownLatch(1);
        var listener = new TrainListener() {
            @Override
            public void iteration(IterationReport report, long total) {
                training.countDown();
                try {
                    done.await();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }
        };
        try (var threads = Executors.newSingleThreadExecutor()) {
            var outcome = threads.submit(() -> TrainingRun.start(RunFixture.config(tasks, run, "meta.iterations=2"), listener, () -> false));
            try {
                training.await();
                others.call();
            } finally {
                done.countDown();
            }
            assertThat(outcome.get().done()).isEqualTo(2);
        }
    }

    @Test
    void nobodyElseStartsOrResumesAndNothingChanges() throws Exception {
        Path run = folder.resolve("run");
        String me = "process " + ProcessHandle.current().pid() + " on ";
        try (var other = new Racer("0.001")) {
            assertThat(other.outcome()).isEqualTo("ready");
            whileTraining(run, () -> {
                var before = RunFixture.snapshot(run);
                for (int again = 0; again < 2; again++) { // a refusal must not give the lock away
                    assertThatThrownBy(() -> TrainingRun.resume(run, TrainListener.SILENT, () -> false)).isInstanceOf(InputException.class)
                            .hasMessageContaining("another training is at work").hasMessageContaining(me);
                    assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, run), TrainListener.SILENT, () -> false))
                            .isInstanceOf(InputException.class).hasMessageContaining("already holds a run, at work now (" + me);
                    other.go("resume", run);
                    assertThat(other.outcome()).startsWith("refused").contains("another training is at work", me);
                    other.go("start", run);
                    assertThat(other.outcome()).startsWith("refused").contains("already holds a run, at work now (" + me);
                }
                assertThat(RunFixture.snapshot(run)).isEqualTo(before);
                return null;
            });
            other.go("resume", run);
            assertThat(other.outcome()).isEqualTo("trained");
        }
    }

    @Test
    void ofThreadsThatStartAtOnceOneTrains() throws Exception {
        try (var threads = Executors.newFixedThreadPool(3)) {
            for (int round = 0; round < 10; round++) {
                Path run = folder.resolve("run-" + round);
                var barrier = new CyclicBarrier(3);
                var outcomes = new ArrayList<Callable<Long>>();
                for (int i = 1; i <= 3; i++) {
                    TrainConfig config = RunFixture.config(tasks, run, "meta.iterations=1", "compute.threads=1", "optimizer.lr=0.00" + i);
                    outcomes.add(() -> {
                        barrier.await();
                        return TrainingRun.start(config, TrainListener.SILENT, () -> false).done();
                    });
                }
                int trained = 0;
                for (var outcome : threads.invokeAll(outcomes)) {
                    try {
                        trained += outcome.get();
                    } catch (ExecutionException e) {
                        assertThat(e.getCause()).isInstanceOf(InputException.class).hasMessageStartingWith(run + ": ");
                    }
                }
                assertThat(trained).isEqualTo(1);
                assertThat(TrainingRun.resume(run, TrainListener.SILENT, () -> false).done()).isEqualTo(1);
            }
        }
    }

    /** What looks like a run that was killed as it began, but for the file that comes first, is somebody else's. */
    @ParameterizedTest
    @ValueSource(strings = {"initial_adapter/mine.txt", "checkpoints/mine.txt", "fingerprint.json", ".config.resolved.yaml.tmp-1",
            "run.lock .notes.tmp-draft", "run.lock .other.tmp-1"})
    void whatNoRunHasLeftIsNotTaken(String names) throws Exception {
        Path run = folder.resolve("run");
        for (String name : names.split(" ")) {
            Files.createDirectories(run.resolve(name).getParent());
            Files.writeString(run.resolve(name), "mine");
        }
        var before = RunFixture.snapshot(run);
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, run), TrainListener.SILENT, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining(run + ": is not empty");
        assertThat(RunFixture.snapshot(run)).isEqualTo(before);
    }

    /** The same, put there while the model was read. */
    @Test
    void whatComesToLieThereMeanwhileIsNotTaken() throws Exception {
        Path run = folder.resolve("run");
        var listener = new TrainListener() {
            @Override
            public void opened(DeviceInfo device) {
                try {
                    Files.createDirectories(run.resolve("initial_adapter"));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
        };
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, run), listener, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining("is not empty");
        assertThat(run).isDirectoryNotContaining(file -> !file.endsWith("initial_adapter"));
    }

    @Test
    void aSignatureThatNoProcessWroteHindersNobody() throws Exception {
        Path run = Files.createDirectories(folder.resolve("run"));
        String host = Files.readString(Path.of("/proc/sys/kernel/hostname")).strip();
        Files.writeString(run.resolve(RunLock.FILE), "process 99999999999999999999 on " + host + ", since long ago");
        assertThat(RunLock.holder(run)).isEmpty();
        assertThat(TrainingRun.start(RunFixture.config(tasks, run, "meta.iterations=1"), TrainListener.SILENT, () -> false).done()).isEqualTo(1);
    }

    @Test
    void whatAKilledProcessLeavesHindersNobody() throws Exception {
        Path run = folder.resolve("run");
        Files.createDirectories(run.resolve("checkpoints"));
        Files.createDirectories(run.resolve("initial_adapter"));
        Files.writeString(run.resolve("initial_adapter/adapter_config.json"), "{}");
        Files.writeString(run.resolve("fingerprint.json"), "{");
        Files.writeString(run.resolve("replay.jsonl"), "{");
        Files.writeString(run.resolve(".replay.jsonl.tmp-2"), "half");
        Files.writeString(run.resolve(RunLock.FILE), "process 1 on nowhere, since yesterday");
        Files.writeString(run.resolve(".config.resolved.yaml.tmp-1"), "half");
        TrainingRun.start(RunFixture.config(tasks, run), TrainListener.SILENT, () -> false);

        TrainingRun.start(RunFixture.config(tasks, folder.resolve("straight")), TrainListener.SILENT, () -> false);
        assertThat(RunFixture.adapter(run)).isEqualTo(RunFixture.adapter(folder.resolve("straight")));
        assertThat(run.resolve("initial_adapter")).doesNotExist();
        assertThat(run.resolve(".config.resolved.yaml.tmp-1")).doesNotExist();
        assertThat(run.resolve("replay.jsonl")).doesNotExist();
        assertThat(run.resolve(".replay.jsonl.tmp-2")).doesNotExist();
        assertThat(run.resolve(RunLock.FILE)).isEmptyFile();
    }

    @ParameterizedTest
    @ValueSource(strings = {"pipe", "folder", "circle"})
    void whatIsInPlaceOfItsFile(String what) throws Exception {
        Path run = folder.resolve("run");
        Path lock = Files.createDirectories(run).resolve(RunLock.FILE);
        switch (what) {
            case "pipe" -> Pipe.make(lock);
            case "folder" -> Files.createDirectory(lock);
            default -> Files.createSymbolicLink(lock, lock);
        }
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, run), TrainListener.SILENT, () -> false))
                .isInstanceOf(InputException.class).hasMessageContaining(lock.toString());
        Files.writeString(run.resolve("config.resolved.yaml"), "");
        assertThatThrownBy(() -> TrainingRun.start(RunFixture.config(tasks, run), TrainListener.SILENT, () -> false))
                .hasMessageContaining("already holds a run");
    }
}
