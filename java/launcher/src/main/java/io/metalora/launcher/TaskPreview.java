package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.config.TrainConfig;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.io.ModelConfig;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.OverLength;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What a configuration makes of a task, found without the model's weights.
 *
 * @param task       its name
 * @param splits     those it has, in the order train, dev, test
 * @param overlaps   pairs of splits with examples in common, and those alone
 * @param answeredBy how an evaluation judges its answers, on the test split, or on what it has in place of one
 * @param labels     the closed set of answers, sorted; empty where answers are open
 * @param examples   some that training sees
 */
@JsonPropertyOrder({"task", "splits", "overlaps", "answered_by", "labels", "examples"})
record TaskPreview(String task, List<SplitPreview> splits, List<Overlap> overlaps, String answeredBy, List<String> labels,
        List<EncodedPreview> examples) {

    /**
     * One split. Lengths are those of whole examples, with the end of sequence where training teaches it, too long ones included.
     *
     * @param samples       its examples
     * @param used          those that training takes; null but for the split that is trained on
     * @param minTokens     of the shortest example
     * @param medianTokens  of the one in the middle; of two, the shorter
     * @param maxTokens     of the longest
     * @param tokens        of all
     * @param trainedTokens those that carry loss; null but for the split that is trained on
     * @param tooLong       examples that {@code data.over_length} is about
     * @param duplicates    examples whose prompt and completion came before in the split
     */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    @JsonPropertyOrder({"split", "samples", "used", "min_tokens", "median_tokens", "max_tokens", "tokens", "trained_tokens", "too_long",
            "duplicates"})
    record SplitPreview(String split, int samples, Integer used, int minTokens, int medianTokens, int maxTokens, long tokens,
            Long trainedTokens, int tooLong, int duplicates) {
    }

    /**
     * What a split has in common with one before it.
     *
     * @param split      the later one, whose examples are counted
     * @param with       the earlier one
     * @param same       examples with a prompt and completion of the earlier split
     * @param samePrompt examples with a prompt of the earlier split, but with none of its completions to it
     */
    @JsonPropertyOrder({"split", "with", "same", "same_prompt"})
    record Overlap(String split, String with, int same, int samePrompt) {
    }

    /** @param most how many examples are shown; 0 for all */
    static TaskPreview of(Task task, TrainConfig config, TextTokenizer tokenizer, ModelConfig model, int most) {
        ExampleEncoder training = config.encoder(tokenizer, model);
        var splits = new ArrayList<SplitPreview>();
        List<EncodedPreview> shown = List.of();
        if (!task.train().isEmpty()) {
            List<EncodedExample> encoded = training.ofAnyLength().encode(task.train());
            int tooLong = (int) encoded.stream().filter(example -> example.length() > training.most()).count();
            int used = 0;
            if (task.train().stream().anyMatch(example -> training.encodeOr(example, training.noneTooLong()).isPresent())) {
                EncodedTask seen = EncodedTask.encode(List.of(task), training, config.data().samplesPerTask(), config.seed(),
                        OverLength.DROP).getFirst();
                used = seen.examples().size();
                shown = IntStream.range(0, most == 0 ? seen.examples().size() : Math.min(most, used))
                        .mapToObj(i -> EncodedPreview.of(task.train().get(seen.line(i)), seen.examples().get(i), tokenizer)).toList();
            }
            splits.add(split(Split.TRAIN, task.train(), encoded, used, tooLong));
        }
        for (Split split : List.of(Split.DEV, Split.TEST)) {
            List<Example> examples = split.of(task);
            if (!examples.isEmpty()) {
                splits.add(split(split, examples, ExampleEncoder.forScoring(tokenizer, model).ofAnyLength().encode(examples), null,
                        LongExamples.count(task, split, tokenizer, model)));
            }
        }
        Split evaluated = !task.test().isEmpty() ? Split.TEST : !task.dev().isEmpty() ? Split.DEV : Split.TRAIN;
        TaskItems items = TaskItems.of(task, evaluated, 0);
        return new TaskPreview(task.name(), splits, overlaps(task), items.judging(), items.labels(), shown);
    }

    /** @param used null for a split that is not trained on */
    private static SplitPreview split(Split split, List<Example> examples, List<EncodedExample> encoded, Integer used, int tooLong) {
        int[] lengths = encoded.stream().mapToInt(EncodedExample::length).sorted().toArray();
        Long trained = used == null ? null : encoded.stream().mapToLong(EncodedExample::lossTokens).sum();
        var different = new HashSet<List<String>>();
        examples.forEach(example -> different.add(content(example)));
        return new SplitPreview(split.toString(), examples.size(), used, lengths[0], lengths[(lengths.length - 1) / 2],
                lengths[lengths.length - 1], Arrays.stream(lengths).asLongStream().sum(), trained, tooLong, examples.size() - different.size());
    }

    private static List<Overlap> overlaps(Task task) {
        var overlaps = new ArrayList<Overlap>();
        for (Split split : List.of(Split.DEV, Split.TEST)) {
            for (Split with : Split.values()) {
                if (with.compareTo(split) < 0) {
                    Overlap overlap = overlap(task, split, with);
                    if (overlap.same() + overlap.samePrompt() > 0) {
                        overlaps.add(overlap);
                    }
                }
            }
        }
        return overlaps;
    }

    private static Overlap overlap(Task task, Split split, Split with) {
        Map<String, Set<String>> completions = new HashMap<>();
        with.of(task).forEach(example -> completions.computeIfAbsent(example.prompt(), prompt -> new HashSet<>())
                .add(example.completion()));
        int same = 0;
        int samePrompt = 0;
        for (Example example : split.of(task)) {
            Set<String> known = completions.get(example.prompt());
            if (known != null && known.contains(example.completion())) {
                same++;
            } else if (known != null) {
                samePrompt++;
            }
        }
        return new Overlap(split.toString(), with.toString(), same, samePrompt);
    }

    private static List<String> content(Example example) {
        return List.of(example.prompt(), example.completion());
    }
}
