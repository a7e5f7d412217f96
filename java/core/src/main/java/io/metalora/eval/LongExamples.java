package io.metalora.eval;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.task.TooLong;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/** Examples of a split that have more tokens than the model's context, with the longest of their task's labels. */
public final class LongExamples {

    /** The most tokens of a character: texts that fit the context even so need not be encoded. */
    private static final int TOKENS_A_CHARACTER = 4;

    private LongExamples() {
    }

    /**
     * Refuses long examples before the work that evaluates them begins. Takes little time: short texts are not encoded.
     *
     * @param advice what else may be done about them
     * @throws InputException that names them
     */
    public static void refuse(List<Task> tasks, Split split, TextTokenizer tokenizer, ModelConfig model, String advice) {
        ExampleEncoder encoder = ExampleEncoder.forScoring(tokenizer, model);
        TooLong tooLong = encoder.noneTooLong();
        for (Task task : tasks) {
            List<Example> examples = split.require(task);
            List<String> labels = ClosedLabels.of(task, examples).orElse(List.of());
            int longestLabel = labels.stream().mapToInt(String::length).max().orElse(0);
            List<Example> suspects = examples.stream().filter(example -> TOKENS_A_CHARACTER * ((long) example.prompt().length()
                    + Math.max(example.completion().length(), longestLabel) + 1) > model.maxPositions()).toList();
            if (!suspects.isEmpty()) {
                add(suspects, labels, encoder, tokenizer, model, tooLong);
            }
        }
        tooLong.refuse(advice);
    }

    /** How many examples of a task's split are too long to be evaluated. */
    public static int count(Task task, Split split, TextTokenizer tokenizer, ModelConfig model) {
        ExampleEncoder encoder = ExampleEncoder.forScoring(tokenizer, model);
        TooLong tooLong = encoder.noneTooLong();
        List<Example> examples = split.of(task);
        add(examples, ClosedLabels.of(task, examples).orElse(List.of()), encoder, tokenizer, model, tooLong);
        return tooLong.count();
    }

    /** Adds those of some examples that do not fit the model's context with whatever answer is tried on them. */
    private static void add(List<Example> examples, List<String> labels, ExampleEncoder encoder, TextTokenizer tokenizer, ModelConfig model,
                            TooLong tooLong) {
        int longestLabel = Arrays.stream(ClosedLabels.ids(labels, tokenizer, model.eosTokenIds())).mapToInt(ids -> ids.length).max().orElse(0);
        for (Example example : examples) {
            encoder.encodeOr(example, tooLong).map(ids -> ids.promptLength() + longestLabel).filter(length -> length > model.maxPositions())
                    .ifPresent(length -> tooLong.add(example, length));
        }
    }

    /**
     * The tasks without the long examples of the split.
     *
     * @param warning is told how many were left out, if any were
     * @throws InputException if a task has none left
     */
    public static List<Task> drop(List<Task> tasks, Split split, TextTokenizer tokenizer, ModelConfig model, Consumer<String> warning) {
        ExampleEncoder encoder = ExampleEncoder.forScoring(tokenizer, model);
        var fitting = new ArrayList<Task>();
        var dropped = new ArrayList<String>();
        for (Task task : tasks) {
            List<Example> examples = split.of(task);
            TooLong tooLong = encoder.noneTooLong();
            add(examples, ClosedLabels.of(task, examples).orElse(List.of()), encoder, tokenizer, model, tooLong);
            if (tooLong.count() == examples.size()) {
                throw new InputException("all " + tooLong.count() + " examples of task " + task.name() + ", split " + split
                        + ", have more tokens than " + tooLong.limit() + "; shorten some, or choose another split");
            }
            if (tooLong.count() > 0) {
                dropped.add(task.name() + " " + tooLong.count());
            }
            fitting.add(tooLong.count() == 0 ? task : split.with(task, examples.stream().filter(e -> !tooLong.contains(e)).toList()));
        }
        if (!dropped.isEmpty()) {
            warning.accept("data.over_length: drop leaves examples of the split " + split + " out of the evaluation that are too long, by task: "
                    + String.join(", ", dropped));
        }
        return fitting;
    }
}
