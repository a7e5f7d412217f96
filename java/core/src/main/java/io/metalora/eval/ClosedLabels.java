package io.metalora.eval;

import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;

/**
 * Determines whether a task has a closed set of answers: few different completions, each of them usual. Then an answer is
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

    /**
     * The ids of each label. If one label's ids begin another's, each gets the end token: otherwise the shorter one would always
     * win.
     */
    static int[][] ids(List<String> labels, TextTokenizer tokenizer, List<Integer> endTokens) {
        int[][] ids = labels.stream().map(label -> tokenizer.encode(label, false)).toArray(int[][]::new);
        for (int i = 0; i < ids.length; i++) {
            if (ids[i].length == 0) {
                throw new InputException("the completion \"" + labels.get(i) + "\" gives no token with this model's tokenizer");
            }
        }
        boolean nested = Arrays.stream(ids).anyMatch(shorter -> Arrays.stream(ids).anyMatch(longer -> longer.length > shorter.length
                && Arrays.equals(shorter, 0, shorter.length, longer, 0, shorter.length)));
        if (nested && !endTokens.isEmpty()) {
            for (int i = 0; i < ids.length; i++) {
                ids[i] = Arrays.copyOf(ids[i], ids[i].length + 1);
                ids[i][ids[i].length - 1] = endTokens.getFirst();
            }
        }
        return ids;
    }
}
