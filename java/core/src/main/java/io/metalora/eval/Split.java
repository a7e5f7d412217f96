package io.metalora.eval;

import io.metalora.runtime.InputException;
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

    /** The task with other examples in the split. */
    public Task with(Task task, List<Example> examples) {
        return new Task(task.name(), this == TRAIN ? examples : task.train(), this == DEV ? examples : task.dev(),
                this == TEST ? examples : task.test());
    }

    /** The examples of the split, of which there must be some. */
    public List<Example> require(Task task) {
        List<Example> examples = of(task);
        if (examples.isEmpty()) {
            throw new InputException("task " + task.name() + " has no " + this + ".jsonl" + (this == DEV ? " (nor val.jsonl or validation.jsonl)" : "")
                    + "; add one, or choose another split");
        }
        return examples;
    }

    /** As it is called in files and options: {@code test}. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
