package io.metalora.task;

import java.nio.file.Path;
import java.util.List;
import java.util.Objects;

/**
 * The files of a task, where they are named one by one. A split without files is empty.
 *
 * @param name    the task's name
 * @param train   read one after the other, as those of the other splits
 * @param dev     what settings are chosen on
 * @param test    what results are reported on
 * @param options how they are read
 */
public record TaskFiles(String name, List<Path> train, List<Path> dev, List<Path> test, ReadOptions options) {

    public TaskFiles {
        Objects.requireNonNull(name, "name");
        train = List.copyOf(train);
        dev = List.copyOf(dev);
        test = List.copyOf(test);
        Objects.requireNonNull(options, "options");
    }
}
