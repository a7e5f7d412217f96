package io.metalora.launcher.synthetic;

import java.util.List;

/**
 * A generated task: three lists of samples without a prompt in common.
 *
 * @param name the task's folder name, such as {@code verdict} or {@code wish-deu}
 * @param labels the closed set of completions, each with its leading space; empty where answers are open and scored by
 *     exact match
 * @param train the training samples, in random order: any prefix is a random subset
 * @param dev for choosing hyper-parameters
 * @param test frozen: the same for every seed
 */
public record SyntheticTask(
        String name, List<String> labels, List<Sample> train, List<Sample> dev, List<Sample> test) {

    public SyntheticTask {
        labels = List.copyOf(labels);
        train = List.copyOf(train);
        dev = List.copyOf(dev);
        test = List.copyOf(test);
    }
}
