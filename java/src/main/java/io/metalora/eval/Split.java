package io.metalora.eval;

import io.metalora.task.Example;
import io.metalora.task.Task;
import java.util.List;
import java.util.Locale;

/** Which of a task's lists of examples is evaluated. */
public enum Split {
    TRAIN, DEV, TEST;

    /** The examples of the split; empty where the task has none. */
    public List<Example> of(Task task) {
        return switch (this) {
            case TRAIN -> task.train();
            case DEV -> task.dev();
            case TEST -> task.test();
        };
    }

    /** As it is called in files and options: {@code test}. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
