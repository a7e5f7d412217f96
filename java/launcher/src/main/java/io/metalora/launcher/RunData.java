package io.metalora.launcher;

import io.metalora.config.TaskSource;
import io.metalora.config.TrainConfig;
import io.metalora.run.RunFolder;
import io.metalora.task.ReadOptions;
import io.metalora.task.Task;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * How a verb that is given an adapter reads tasks: as the run that trained it does, if these are the run's tasks, since with other
 * columns or another split it would be tested on what it was trained on.
 */
final class RunData {
    private static final String APART = "adapters"; // RUN/adapters/TASK

    private RunData() {}

    /** @param adapter nullable */
    static List<Task> read(Path tasks, Path model, Path adapter) {
        Optional<TrainConfig.Data> data = run(adapter).map(run -> RunFolder.existing(run).config().data()).filter(of -> isSame(of.folder(), tasks));
        ReadOptions options = data.map(of -> ReadOptions.of(model, of.columns(), of.thinking())).orElseGet(() -> ReadOptions.of(model));
        List<Task> read = TaskSource.read(tasks, List.of(), options);
        return data.map(of -> of.split().of(read)).orElse(read);
    }

    private static Optional<Path> run(Path adapter) {
        Path parent = adapter == null ? null : adapter.toAbsolutePath().normalize().getParent();
        if (parent != null && parent.endsWith(APART)) {
            parent = parent.getParent();
        }
        return Optional.ofNullable(parent).filter(folder -> Files.isRegularFile(folder.resolve(RunFolder.CONFIG)));
    }

    private static boolean isSame(Path folder, Path tasks) {
        try {
            return Files.isSameFile(folder, tasks);
        } catch (IOException e) {
            return false; // one of them is not there
        }
    }
}
