package io.metalora.task;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * Reads a folder of tasks: one folder per task, in it {@code train.jsonl}, {@code dev.jsonl} and {@code test.jsonl}, each
 * optional, in the form of {@link ExampleFile}. The second may also be called {@code val.jsonl} or {@code validation.jsonl}, and
 * each may be of another kind of that form ({@code train.csv}). Tasks come sorted by name.
 */
public final class TaskFolder {

    /** That a message lists. */
    private static final int MOST_NAMES = 20;

    private TaskFolder() {
    }

    /** All tasks of the folder. */
    public static List<Task> read(Path folder) {
        return read(folder, List.of());
    }

    /** As {@link #read(Path, Collection, ReadOptions)}, of examples that are no conversations, with the usual keys. */
    public static List<Task> read(Path folder, Collection<String> names) {
        return read(folder, names, ReadOptions.NONE);
    }

    /**
     * The named tasks of the folder, or all of them where {@code names} is empty.
     *
     * @throws InputException if the folder or a named task is missing, a task folder holds a JSON Lines file of another
     *                        name, or an example is bad
     */
    public static List<Task> read(Path folder, Collection<String> names, ReadOptions options) {
        if (!Files.isDirectory(folder)) {
            throw new InputException(folder + ": no such folder; a task folder holds one folder a task, with train.jsonl in it");
        }
        var found = new TreeSet<String>();
        for (Path entry : list(folder)) {
            String name = entry.getFileName().toString();
            if (name.startsWith(".")) {
                continue;
            }
            if (Files.isDirectory(entry)) {
                found.add(name);
            } else if (!Files.exists(entry)) {
                found.add(name); // a link that leads nowhere, or a place that may not be read: reported when the task is read
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
                throw new InputException(folder + ": holds no task named \"" + name + "\"; it has "
                        + Shown.first(found.stream().map(Shown::plain).toList(), MOST_NAMES));
            }
        }
        var wanted = names.isEmpty() ? found : new TreeSet<>(names);
        var share = new HeapShare();
        var tasks = new ArrayList<Task>();
        for (String name : wanted) {
            tasks.add(readTask(folder.resolve(name), name, options, share));
        }
        return tasks;
    }

    /**
     * The tasks whose files are named one by one, sorted by name.
     *
     * @throws InputException if a file is missing, or an example is bad
     */
    public static List<Task> read(Collection<TaskFiles> tasks) {
        var share = new HeapShare();
        return tasks.stream().sorted(Comparator.comparing(TaskFiles::name)).map(task -> new Task(task.name(), split(task.train(), task.options(), share),
                split(task.dev(), task.options(), share), split(task.test(), task.options(), share))).toList();
    }

    private static List<Example> split(List<Path> files, ReadOptions options, HeapShare share) {
        return files.stream().flatMap(file -> split(file, options, share).stream()).toList();
    }

    private static Task readTask(Path folder, String name, ReadOptions options, HeapShare share) {
        if (!Files.isDirectory(folder)) {
            throw new InputException(folder + ": " + (Files.isSymbolicLink(folder) ? "the task is a link that leads nowhere" : "can't be read")
                    + "; mend or remove it, or choose the tasks with data.names");
        }
        var files = new EnumMap<Part, Path>(Part.class);
        for (Path file : list(folder)) {
            Part.of(file).ifPresent(part -> {
                Path before = files.put(part, file);
                if (before != null) {
                    throw new InputException(file + ": is a second split for " + part.purpose + " beside " + before.getFileName()
                            + "; keep one of the two");
                }
            });
        }
        if (files.isEmpty()) {
            throw new InputException(folder + ": holds none of train.jsonl, dev.jsonl and test.jsonl, so it is not a task; "
                    + "add one or remove the folder");
        }
        return new Task(name, split(files.get(Part.TRAIN), options, share), split(files.get(Part.DEV), options, share),
                split(files.get(Part.TEST), options, share));
    }

    /** What a file of a task is for, by its name. */
    private enum Part {
        TRAIN("training", "train"), DEV("development", "dev", "val", "validation"), TEST("testing", "test");

        private final String purpose;
        private final Set<String> names;

        Part(String purpose, String... names) {
            this.purpose = purpose;
            this.names = Set.of(names);
        }

        /** Empty of a file that holds no examples. */
        static Optional<Part> of(Path file) {
            String fileName = file.getFileName().toString();
            int dot = fileName.lastIndexOf('.');
            String extension = fileName.substring(dot + 1).toLowerCase(Locale.ROOT);
            if (dot < 1 || !ExampleFile.EXTENSIONS.contains(extension)) {
                return Optional.empty();
            }
            String name = fileName.substring(0, dot);
            Optional<Part> part = Stream.of(values()).filter(each -> each.names.contains(name)).findFirst();
            if (part.isEmpty() && !extension.equals("json")) { // which may well be something else
                throw new InputException(file + ": unknown split; a task folder may hold train.jsonl, dev.jsonl (or val.jsonl, "
                        + "validation.jsonl) and test.jsonl (or .json, .csv, .tsv, .parquet): rename or remove this file");
            }
            return part;
        }
    }

    /** @param file null where the task has no such split */
    private static List<Example> split(Path file, ReadOptions options, HeapShare share) {
        if (file == null) {
            return List.of();
        }
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new InputException(file + ": is not a regular file, and is read more than once; copy what it gives into a file");
        }
        List<Example> examples = ExampleFile.read(file, options, share);
        for (Example example : examples) {
            if (isBlank(example.completion())) {
                throw new InputException(example.source() + ": the completion is white space alone, which nothing can be learned from; "
                        + "remove the line or give it a completion");
            }
        }
        return examples;
    }

    private static boolean isBlank(String text) {
        return text.codePoints().allMatch(c -> Character.isWhitespace(c) || Character.isSpaceChar(c));
    }

    private static List<Path> list(Path folder) {
        try (var entries = Files.list(folder)) {
            return entries.sorted().toList();
        } catch (IOException e) {
            throw new InputException(folder + ": can't be listed: " + FileFailure.reason(e));
        }
    }
}
