package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.config.TrainConfig;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.task.TaskFolder;
import io.metalora.train.IterationReport;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToLongFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** A long training takes no more of anything as it goes on. {@code -Dmetalora.soak=10000} trains longer than a build does. */
@EnabledOnOs(OS.LINUX)
class SoakTest {

    private static final int ITERATIONS = Integer.getInteger("metalora.soak", 600);
    private static final int MEASUREMENTS = 20;

    @TempDir
    private Path folder;

    /**
     * What the process holds.
     *
     * @param device   bytes held through the device
     * @param heap     bytes of the Java heap after a garbage collection
     * @param resident bytes of the whole process
     */
    private record Held(long iteration, long device, long heap, long resident, long files, long threads) {

        @Override
        public String toString() {
            return String.format(Locale.ROOT, "iteration %6d: device %,d B, heap %,d B, resident %,d B, %d files, %d threads", iteration, device,
                    heap, resident, files, threads);
        }
    }

    @Test
    void holdsNoMoreAsItGoesOn() throws IOException {
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        TrainConfig config = RunFixture.config(tasks, folder.resolve("run"), "meta.iterations=" + ITERATIONS, "compute.checkpoint_every=10");
        var held = new ArrayList<Held>();
        try (var loaded = LoadedModel.open(config.model(), new DeviceOptions(Backend.CPU, 2))) {
            var listener = new TrainListener() {
                @Override
                public void iteration(IterationReport report, long total) {
                    if (report.iteration() % (ITERATIONS / MEASUREMENTS) == 0) {
                        held.add(held(report.iteration(), loaded.device().info().memoryInUse()));
                    }
                }
            };
            TrainingRun.start(config, loaded, TaskFolder.read(tasks), listener, () -> false);
        }
        held.forEach(System.out::println);

        // Classes are loaded and compiled in the first half.
        List<Held> third = held.subList(MEASUREMENTS / 2, MEASUREMENTS * 3 / 4);
        List<Held> fourth = held.subList(MEASUREMENTS * 3 / 4, MEASUREMENTS);
        assertThat(held).extracting(Held::device).as("bytes of the device").containsOnly(held.getFirst().device());
        assertThat(growth(third, fourth, Held::files)).as("open files").isLessThanOrEqualTo(0);
        assertThat(growth(third, fourth, Held::threads)).as("threads").isLessThanOrEqualTo(0);
        assertThat(growth(third, fourth, Held::heap)).as("bytes of the heap").isLessThan(512 << 10);
        assertThat(growth(third, fourth, Held::resident)).as("bytes of the process").isLessThan(48 << 20);
    }

    /** Of the least, which is what is kept. */
    private static long growth(List<Held> before, List<Held> after, ToLongFunction<Held> what) {
        return after.stream().mapToLong(what).min().orElseThrow() - before.stream().mapToLong(what).min().orElseThrow();
    }

    private static Held held(long iteration, long device) {
        System.gc();
        long heap = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
        return new Held(iteration, device, heap, resident(), entries("/proc/self/fd"), entries("/proc/self/task"));
    }

    private static long entries(String folder) {
        return Path.of(folder).toFile().list().length;
    }

    private static long resident() {
        try {
            String line = Files.readAllLines(Path.of("/proc/self/status")).stream().filter(l -> l.startsWith("VmRSS:")).findFirst().orElseThrow();
            return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
