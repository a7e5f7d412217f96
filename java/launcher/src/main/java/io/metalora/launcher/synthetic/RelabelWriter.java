package io.metalora.launcher.synthetic;

import io.metalora.file.AtomicFile;
import io.metalora.runtime.InputException;
import io.metalora.task.TaskFolder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Writes customers of a folder of real tasks ({@link Relabelling}) as a folder of tasks: {@code COUNT} of them, each with texts
 * of {@code TASKS_EACH} of the tasks.
 *
 * <pre>{@code java -cp LAUNCHER.jar io.metalora.launcher.synthetic.RelabelWriter TASKS FOLDER PREFIX COUNT TASKS_EACH SEED}</pre>
 */
public final class RelabelWriter {

    private static final String COUNT = "[1-9][0-9]?";

    private RelabelWriter() {}

    /** Ends with 2 and a message where the arguments, or what they name, can't be. */
    public static void main(String[] args) {
        if (args.length != 6 || !args[2].matches("[A-Za-z0-9][A-Za-z0-9_-]*") || !args[3].matches(COUNT)
                || !args[4].matches(COUNT) || !args[5].matches("[0-9]{1,18}")) {
            System.err.println("usage: RelabelWriter TASKS FOLDER PREFIX COUNT TASKS_EACH SEED; PREFIX of letters, digits, - and "
                    + "_; COUNT and TASKS_EACH from 1 to 99; SEED a whole number");
            System.exit(2);
        }
        try {
            write(Path.of(args[0]), Path.of(args[1]), args[2], Integer.parseInt(args[3]), Integer.parseInt(args[4]),
                    Long.parseLong(args[5]));
        } catch (InputException e) {
            System.err.println("RelabelWriter: " + e.getMessage());
            System.exit(2);
        }
    }

    /**
     * As {@link #main}.
     *
     * @throws InputException if the tasks can't be relabelled, or the folder is there already
     */
    static void write(Path tasks, Path folder, String prefix, int count, int tasksEach, long seed) {
        List<SyntheticTask> customers = new Relabelling(TaskFolder.read(tasks), tasksEach).customers(prefix, count, seed);
        if (Files.exists(folder)) {
            throw new InputException(folder
                    + ": already exists, and nothing was written over it; give another folder or remove it");
        }
        AtomicFile.createFolder(folder, made -> SyntheticTasks.write(customers, made));
    }
}
