package io.metalora.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.metalora.config.TrainConfig;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** {@code FullDisk FOLDER}, where file systems can be mounted: fills disks of all sizes with a training. Says "fine" at the end. */
final class FullDisk {

    private static final String[] SETTINGS = {"meta.iterations=3", "compute.checkpoint_every=1", "meta.inner_steps=1", "compute.threads=1"};

    private FullDisk() {
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        Path folder = Path.of(args[0]);
        Path tasks = RunFixture.tasks(folder.resolve("tasks"));
        Path straight = folder.resolve("straight");
        TrainingRun.start(RunFixture.config(tasks, straight, SETTINGS), TrainListener.SILENT, () -> false);
        int failures = 0;
        for (int size = 4; ; size += 8) {
            Path disk = Files.createDirectory(folder.resolve("disk-" + size));
            mount("-t", "tmpfs", "-o", "size=" + size + "k", "tmpfs", disk);
            TrainConfig config = RunFixture.config(tasks, disk.resolve("run"), SETTINGS);
            Throwable failure = catchThrowable(() -> TrainingRun.start(config, TrainListener.SILENT, () -> false));
            if (failure == null) {
                break;
            }
            failures++;
            assertThat(failure).isInstanceOf(UncheckedIOException.class).hasMessageContaining(disk.toString())
                    .hasMessageContaining("No space left on device");
            goOn(config, disk, straight);
        }
        assertThat(failures).isGreaterThan(5);
        readOnly(folder, tasks, straight);
        System.out.println("fine");
    }

    private static void goOn(TrainConfig config, Path disk, Path straight) throws IOException, InterruptedException {
        mount("-o", "remount,size=1m", disk);
        Path run = config.output();
        if (Files.exists(run.resolve("config.resolved.yaml"))) {
            TrainingRun.resume(run, TrainListener.SILENT, () -> false);
        } else {
            TrainingRun.start(config, TrainListener.SILENT, () -> false);
        }
        assertThat(RunFixture.adapter(run)).as(disk.toString()).isEqualTo(RunFixture.adapter(straight));
        assertThat(RunFixture.metrics(run)).as(disk.toString()).isEqualTo(RunFixture.metrics(straight));
    }

    /** A run that was stopped, on a disk that is read-only when it is to go on: it is refused, and unchanged. */
    private static void readOnly(Path folder, Path tasks, Path straight) throws IOException, InterruptedException {
        Path disk = Files.createDirectory(folder.resolve("read-only"));
        mount("-t", "tmpfs", "tmpfs", disk);
        TrainConfig config = RunFixture.config(tasks, disk.resolve("run"), SETTINGS);
        TrainingRun.start(config, TrainListener.SILENT, () -> Files.exists(config.output().resolve("checkpoints/checkpoint-0000000001.safetensors")));
        mount("-o", "remount,ro", disk);
        Throwable failure = catchThrowable(() -> TrainingRun.resume(config.output(), TrainListener.SILENT, () -> false));
        assertThat(failure).isInstanceOf(InputException.class).hasMessageContaining(disk.toString())
                .hasMessageContaining("Read-only file system");
        Throwable other = catchThrowable(() -> TrainingRun.start(RunFixture.config(tasks, disk.resolve("other"), SETTINGS), TrainListener.SILENT,
                () -> false));
        assertThat(other).isInstanceOf(InputException.class).hasMessageContaining(disk.toString());
        mount("-o", "remount,rw", disk);
        goOn(config, disk, straight);
    }

    private static void mount(Object... arguments) throws IOException, InterruptedException {
        var command = new ArrayList<>(List.of("mount"));
        for (Object argument : arguments) {
            command.add(argument.toString());
        }
        assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).as(String.join(" ", command)).isZero();
    }
}
