package io.metalora.config;

import io.metalora.runtime.InputException;
import io.metalora.task.ReadOptions;
import io.metalora.task.Task;
import io.metalora.task.TaskFolder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;

/** Reads tasks from where a configuration or an option says they are: a folder of them, or a manifest that names their files. */
public final class TaskSource {

    private TaskSource() {
    }

    /**
     * The named tasks, or all of them where {@code names} is empty, sorted by name.
     *
     * @param source  a folder of tasks, or a manifest: a file that ends with .yaml or .yml (docs/data.md)
     * @param options how files are read of which the manifest does not say otherwise
     * @throws InputException if the source, a named task or a file is missing, or an example is bad
     */
    public static List<Task> read(Path source, Collection<String> names, ReadOptions options) {
        return Files.isRegularFile(source) && source.toString().matches(".*\\.ya?ml") ? TaskFolder.read(TaskManifest.read(source, names, options))
                : TaskFolder.read(source, names, options);
    }
}
