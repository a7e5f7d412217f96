package io.metalora.eval;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.task.TooLong;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * The examples of a split as token ids.
 *
 * @param examples those that fit the model's context with whatever answer is tried on them
 * @param encoded  their ids, one for one
 * @param labels   the closed set of answers; empty where they are open
 * @param labelIds the ids of each label
 * @param tooLong  the examples that do not fit
 */
record EncodedSplit(List<Example> examples, List<EncodedExample> encoded, List<String> labels, int[][] labelIds, TooLong tooLong) {

    static EncodedSplit of(Task task, Split split, TextTokenizer tokenizer, ModelConfig model) {
        return of(task, split, split.require(task), tokenizer, model);
    }

    /** Of some of the split's examples. */
    static EncodedSplit of(Task task, Split split, List<Example> examples, TextTokenizer tokenizer, ModelConfig model) {
        List<String> labels = ClosedLabels.of(task, split.of(task)).orElse(List.of());
        int[][] labelIds = labelIds(labels, tokenizer, model.eosTokenIds());
        int longestLabel = Arrays.stream(labelIds).mapToInt(ids -> ids.length).max().orElse(0);
        ExampleEncoder encoder = ExampleEncoder.forScoring(tokenizer, model);
        TooLong tooLong = encoder.noneTooLong();
        var fitting = new ArrayList<Example>(examples.size());
        var encoded = new ArrayList<EncodedExample>(examples.size());
        for (Example example : examples) {
            Optional<EncodedExample> ids = encoder.encodeOr(example, tooLong);
            int withLabel = ids.map(EncodedExample::promptLength).orElse(0) + longestLabel;
            if (withLabel > model.maxPositions() && ids.isPresent()) {
                tooLong.add(example, withLabel);
            } else if (ids.isPresent()) {
                fitting.add(example);
                encoded.add(ids.get());
            }
        }
        return new EncodedSplit(fitting, encoded, labels, labelIds, tooLong);
    }

    /** Where one label's ids begin another's, each gets the end token, since the shorter would always win else. */
    static int[][] labelIds(List<String> labels, TextTokenizer tokenizer, int[] endTokens) {
        int[][] ids = labels.stream().map(label -> tokenizer.encode(label, false)).toArray(int[][]::new);
        for (int i = 0; i < ids.length; i++) {
            if (ids[i].length == 0) {
                throw new InputException("the completion \"" + labels.get(i) + "\" gives no token with this model's tokenizer");
            }
        }
        boolean nested = Arrays.stream(ids).anyMatch(shorter -> Arrays.stream(ids).anyMatch(longer -> longer.length > shorter.length
                && Arrays.equals(shorter, 0, shorter.length, longer, 0, shorter.length)));
        if (nested && endTokens.length > 0) {
            for (int i = 0; i < ids.length; i++) {
                ids[i] = Arrays.copyOf(ids[i], ids[i].length + 1);
                ids[i][ids[i].length - 1] = endTokens[0];
            }
        }
        return ids;
    }
}
