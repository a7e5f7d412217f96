package io.metalora.eval;

import io.metalora.eval.Probe.Answer;
import io.metalora.io.ModelConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * Accuracy on tasks. A task with a closed set of labels is answered by ranking them, any other by greedy decoding:
 * {@link TaskResult.Method}.
 *
 * <p>A label's score is the log-probability of its tokens after the prompt, summed, without an end of sequence token; only
 * where one label's tokens begin another's does each get one, since the shorter would always win else.
 *
 * <p>Greedy decoding is not run token by token: it gives the completion exactly if each of its tokens is the most probable
 * one after those before it, which one pass over prompt and completion tells.
 */
public final class TaskEvaluator implements AutoCloseable {

    private final ProbeRunner runner;
    private final TextTokenizer tokenizer;
    private final ModelConfig model;
    private final int[] endTokens;

    /**
     * @param slots the adapter to evaluate, in slot 0; null for the base model
     */
    public TaskEvaluator(CausalLM model, TextTokenizer tokenizer, AdapterSlots slots) {
        this.runner = new ProbeRunner(model, slots);
        this.tokenizer = tokenizer;
        this.model = model.config();
        this.endTokens = model.config().eosTokenIds();
    }

    /**
     * Evaluates one split of a task.
     *
     * @param progress hears how many tokens were read with every pass
     * @throws InputException if the task has no such split, or an example doesn't fit the model
     */
    public TaskResult evaluate(Task task, Split split, LongConsumer progress) {
        EncodedSplit encoded = EncodedSplit.of(task, split, tokenizer, model);
        encoded.tooLong().refuse("");
        return encoded.labels().isEmpty()
                ? new TaskResult(task.name(), TaskResult.Method.EXACT_MATCH, 0, match(encoded.encoded(), progress))
                : new TaskResult(task.name(), TaskResult.Method.RANKING, encoded.labels().size(), rank(encoded, progress));
    }

    /**
     * Finds each example's best label without scoring all of them. One pass over the prompts gives the log-probability of
     * every label's first token, which is an upper bound of the label's; labels are then scored from the highest bound
     * down, until no bound is above the best score. The outcome is that of scoring all.
     */
    private boolean[] rank(EncodedSplit split, LongConsumer progress) {
        List<String> labels = split.labels();
        int[][] labelIds = split.labelIds();
        int[] first = Arrays.stream(labelIds).mapToInt(ids -> ids[0]).distinct().toArray();
        var firstProbes = new ArrayList<Probe>();
        var prompts = new ArrayList<int[]>();
        for (EncodedExample example : split.encoded()) {
            int[] prompt = Arrays.copyOf(example.ids(), example.promptLength());
            prompts.add(prompt);
            firstProbes.add(new Probe.Alternatives(prompt, first));
        }
        List<Answer> firstAnswers = runner.run(firstProbes, progress);

        var searches = new ArrayList<LabelSearch>();
        for (Answer answer : firstAnswers) {
            searches.add(new LabelSearch(labelIds, first, answer.logprob()));
        }
        while (true) {
            var open = IntStream.range(0, searches.size()).filter(i -> searches.get(i).next() >= 0).toArray();
            if (open.length == 0) {
                break;
            }
            var probes = new ArrayList<Probe>();
            for (int i : open) {
                probes.add(Probe.Continuation.of(prompts.get(i), labelIds[searches.get(i).next()], 1));
            }
            List<Answer> answers = runner.run(probes, progress);
            for (int j = 0; j < open.length; j++) {
                searches.get(open[j]).scored(answers.get(j).sum());
            }
        }
        boolean[] correct = new boolean[prompts.size()];
        for (int i = 0; i < correct.length; i++) {
            correct[i] = labels.get(searches.get(i).best()).equals(split.examples().get(i).completion());
        }
        return correct;
    }

    private boolean[] match(List<EncodedExample> encoded, LongConsumer progress) {
        var probes = new ArrayList<Probe>();
        for (EncodedExample example : encoded) {
            // What follows the completion is read from the most probable token; the one asked for is of no account.
            int[] ids = Arrays.copyOf(example.ids(), example.length() + 1);
            probes.add(new Probe.Continuation(ids, example.promptLength()));
        }
        List<Answer> answers = runner.run(probes, progress);
        boolean[] correct = new boolean[encoded.size()];
        for (int i = 0; i < correct.length; i++) {
            int[] said = answers.get(i).argmax();
            EncodedExample wanted = encoded.get(i);
            correct[i] = Arrays.equals(said, 0, wanted.lossTokens(), wanted.ids(), wanted.promptLength(), wanted.length())
                    && ends(said[wanted.lossTokens()]);
        }
        return correct;
    }

    private boolean ends(int token) {
        return Arrays.stream(endTokens).anyMatch(end -> end == token)
                || tokenizer.decode(new int[] {token}, false).startsWith("\n");
    }

    @Override
    public void close() {
        runner.close();
    }

    /** The search for one example's best label. */
    private static final class LabelSearch {

        private final double[] bound;
        private final int[] order;
        private int at;
        private int best = -1;
        private double bestScore = Double.NEGATIVE_INFINITY;

        LabelSearch(int[][] labelIds, int[] first, float[] firstLogprob) {
            bound = new double[labelIds.length];
            for (int label = 0; label < labelIds.length; label++) {
                for (int i = 0; i < first.length; i++) {
                    if (labelIds[label][0] == first[i]) {
                        bound[label] = firstLogprob[i];
                    }
                }
                if (labelIds[label].length == 1) {
                    offer(label, bound[label]);
                }
            }
            order = IntStream.range(0, labelIds.length).filter(label -> labelIds[label].length > 1).boxed()
                    .sorted(Comparator.comparingDouble((Integer label) -> -bound[label]).thenComparing(Comparator.naturalOrder()))
                    .mapToInt(Integer::intValue).toArray();
        }

        /** The label to be scored next, or -1 when none can be better than the best. */
        int next() {
            return at < order.length && bound[order[at]] >= bestScore ? order[at] : -1;
        }

        /** Takes the log-probability of the next label's tokens after its first. */
        void scored(double rest) {
            int label = order[at++];
            offer(label, bound[label] + rest);
        }

        int best() {
            return best;
        }

        private void offer(int label, double score) {
            if (best < 0 || score > bestScore || (score == bestScore && label < best)) {
                best = label;
                bestScore = score;
            }
        }
    }
}
