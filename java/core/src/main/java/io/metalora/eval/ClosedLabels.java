package io.metalora.eval;

import io.metalora.task.Example;
import io.metalora.task.Task;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;

/**
 * Finds out whether a task has a closed set of answers: few different completions, each of them usual. Then an answer is
 * chosen by ranking them; else it is open and has to be matched.
 */
final class ClosedLabels {

    /** More different completions than this are no label set. */
    static final int MOST = 32;
    /** Samples a label must have on average: where every completion is different, few of them are no label set either. */
    static final int SAMPLES_A_LABEL = 2;

    private ClosedLabels() {
    }

    /**
     * The labels, sorted: the different completions of the training split (of the evaluated one where the task has no
     * training split), if they are few, come twice on average, and cover the evaluated split.
     */
    static Optional<List<String>> of(Task task, List<Example> evaluated) {
        List<Example> known = task.train().isEmpty() ? evaluated : task.train();
        var labels = new TreeSet<String>();
        for (Example example : known) {
            labels.add(example.completion());
            if (labels.size() > MOST) {
                return Optional.empty();
            }
        }
        var needed = new HashSet<String>();
        evaluated.forEach(example -> needed.add(example.completion()));
        boolean usual = known.size() >= SAMPLES_A_LABEL * labels.size();
        return labels.size() > 1 && usual && labels.containsAll(needed) ? Optional.of(List.copyOf(labels)) : Optional.empty();
    }
}
