package io.metalora.launcher.synthetic;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.Task;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * Makes customers of real tasks that share their labels, as one task in several languages does. A customer sends in texts of
 * some of the tasks, and calls each label by a word of its own that has nothing to do with it, so that no prompt tells which word
 * is meant: only a customer's samples do. As {@link Customers}, whose goods are made up.
 */
final class Relabelling {

    /** What labels are called. A word says as little of any label as another; most tokenizers have them as one token. */
    private static final List<String> WORDS = List.of("apple", "basket", "bottle", "bucket", "button", "candle", "chair",
            "kettle", "ladder", "lamp", "mirror", "pencil", "pillow", "ribbon", "spoon", "window");

    /** Most training samples of a customer; of dev and test as many as the generated tasks have. */
    private static final int TRAIN = 300;

    private final List<Task> sources;
    private final List<String> labels;
    private final int sourcesEach;

    /**
     * @param sources     tasks with train, dev and test splits, of the same labels
     * @param sourcesEach how many of them a customer has texts of
     * @throws InputException if there are fewer tasks than that, a split is missing, or the labels are fewer than 2 or more than
     *                        there are words
     */
    Relabelling(List<Task> sources, int sourcesEach) {
        if (sourcesEach < 1 || sourcesEach > sources.size()) {
            throw new InputException("each customer is to have texts of " + sourcesEach + " tasks, but there are "
                    + sources.size() + "; take 1 to " + sources.size());
        }
        for (Task task : sources) {
            if (task.train().isEmpty() || task.dev().isEmpty() || task.test().isEmpty()) {
                throw new InputException("task " + Shown.plain(task.name())
                        + " lacks a split; give it train.jsonl, dev.jsonl and test.jsonl");
            }
        }
        this.sources = List.copyOf(sources);
        this.sourcesEach = sourcesEach;
        var found = new TreeSet<String>();
        sources.stream().flatMap(task -> Stream.of(task.train(), task.dev(), task.test())).flatMap(List::stream)
                .map(Example::completion).forEach(found::add);
        if (found.size() < 2 || found.size() > WORDS.size()) {
            throw new InputException("the tasks have " + found.size() + " different completions; labels to be renamed are 2 to "
                    + WORDS.size());
        }
        this.labels = List.copyOf(found);
    }

    /** Named {@code prefix-01} and on; what a customer is depends on its name and the seed alone. */
    List<SyntheticTask> customers(String prefix, int count, long seed) {
        var all = new ArrayList<SyntheticTask>();
        for (int i = 1; i <= count; i++) {
            all.add(customer("%s-%02d".formatted(prefix, i), seed));
        }
        return all;
    }

    private SyntheticTask customer(String name, long seed) {
        var draws = new Draws(new SplittableRandom(SyntheticTasks.hash(name, seed)), Language.ENGLISH);
        List<String> words = draws.distinct(WORDS, labels.size());
        Map<String, String> called = new HashMap<>();
        for (int i = 0; i < words.size(); i++) {
            called.put(labels.get(i), words.get(i));
        }
        List<Task> own = draws.distinct(sources, sourcesEach);
        return new SyntheticTask(name, words.stream().map(" "::concat).toList(),
                samples(own.stream().map(Task::train), TRAIN, called, draws),
                samples(own.stream().map(Task::dev), SyntheticTasks.DEV, called, draws),
                samples(own.stream().map(Task::test), SyntheticTasks.TEST, called, draws));
    }

    /** A split of a customer comes from the same split of its tasks. */
    private static List<Sample> samples(Stream<List<Example>> of, int most, Map<String, String> called, Draws draws) {
        List<Example> all = draws.shuffled(of.flatMap(List::stream).toList());
        return all.subList(0, Math.min(most, all.size())).stream()
                .map(example -> Sample.of(example.prompt(), called.get(example.completion()))).toList();
    }
}
