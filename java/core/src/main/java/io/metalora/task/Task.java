package io.metalora.task;

import java.util.List;
import java.util.Objects;

/**
 * A task: a name and its examples, split as its folder splits them. A split whose file is absent is empty.
 *
 * @param name  the name of the task's folder
 * @param train what training may draw from
 * @param dev   what settings are chosen on
 * @param test  what results are reported on
 */
public record Task(String name, List<Example> train, List<Example> dev, List<Example> test) {

    public Task {
        Objects.requireNonNull(name, "name");
        train = List.copyOf(train);
        dev = List.copyOf(dev);
        test = List.copyOf(test);
    }
}
