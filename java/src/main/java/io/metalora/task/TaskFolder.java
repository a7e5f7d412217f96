package io.metalora.task;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * Reads a folder of tasks: one folder a task, in it {@code train.jsonl}, {@code dev.jsonl} and {@code test.jsonl}, each
 * optional, in the form of {@link ExampleFile}. Tasks come sorted by name.
 */
public final class TaskFolder {

    private static final Set<String> SPLITS = Set.of("train.jsonl", "dev.jsonl", "test.jsonl");

    private TaskFolder() {
    }

    /** All tasks of the folder. */
    public static List<Task> read(Path folder) {
        return read(folder, List.of());
    }

    /**
     * The named tasks of the folder, or all of them where {@code names} is empty.
     *
     * @throws InputException if the folder or a named task is missing, a task folder holds a JSON Lines file of another
     *                        name, or an example is bad
     */
    public static List<Task> read(Path folder, Collection<String> names) {
        if (!Files.isDirectory(folder)) {
            throw new InputException(folder + ": no such folder; a task folder holds one folder a task, with train.jsonl in it");
        }
        var found = new TreeSet<String>();
        for (Path entry : list(folder)) {
            String name = entry.getFileName().toString();
            if (Files.isDirectory(entry) && !name.startsWith(".")) {
                found.add(name);
            } else if (name.endsWith(".jsonl")) {
                throw new InputException(entry + ": examples must lie in a folder of their task, as "
                        + folder.resolve("TASK").resolve(name) + "; if " + folder + " is itself one task, give the folder above it");
            }
        }
        if (found.isEmpty()) {
            throw new InputException(folder + ": holds no tasks; expected one folder a task, with train.jsonl in it");
        }
        for (String name : names) {
            if (!found.contains(name)) {
                throw new InputException(folder + ": holds no task named \"" + name + "\"; it has " + String.join(", ", found));
            }
        }
        var wanted = names.isEmpty() ? found : new TreeSet<>(names);
        var tasks = new ArrayList<Task>();
        for (String name : wanted) {
            tasks.add(readTask(folder.resolve(name), name));
        }
        return tasks;
    }

    private static Task readTask(Path folder, String name) {
        boolean any = false;
        for (Path file : list(folder)) {
            String fileName = file.getFileName().toString();
            if (SPLITS.contains(fileName)) {
                any = true;
            } else if (fileName.endsWith(".jsonl")) {
                throw new InputException(file + ": unknown split; a task folder may hold train.jsonl, dev.jsonl and test.jsonl: "
                        + "rename or remove this file");
            }
        }
        if (!any) {
            throw new InputException(folder + ": holds none of train.jsonl, dev.jsonl and test.jsonl, so it is no task; "
                    + "add one or remove the folder");
        }
        return new Task(name, split(folder, "train.jsonl"), split(folder, "dev.jsonl"), split(folder, "test.jsonl"));
    }

    private static List<Example> split(Path folder, String name) {
        Path file = folder.resolve(name);
        return Files.exists(file) ? ExampleFile.read(file) : List.of();
    }

    private static List<Path> list(Path folder) {
        try (var entries = Files.list(folder)) {
            return entries.sorted().toList();
        } catch (IOException e) {
            throw new InputException(folder + ": can't be listed: " + e.getMessage());
        }
    }
}
