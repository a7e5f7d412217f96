package io.metalora.eval;

import io.metalora.eval.Probe.Answer;
import io.metalora.io.ModelConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.Task;
import io.metalora.text.TextTokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.IntUnaryOperator;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * Accuracy on tasks. A task with a closed set of labels is answered by ranking them, any other by greedy decoding: {@link
 * TaskResult.Method}.
 *
 * <p>A label's score is the log-probability of its tokens after the prompt, summed, without an end of sequence token; only if one
 * label's tokens begin another's does each get one: otherwise the shorter would always win.
 *
 * <p>Greedy decoding is not run token by token: it gives the completion exactly if each of its tokens is the most probable one
 * after those before it, which one pass over prompt and completion shows.
 */
public final class TaskEvaluator implements AutoCloseable {

    /** Characters that are evaluated before their answers are kept: some passes' worth. */
    private static final long PIECE = 1 << 15;

    private final ProbeRunner runner;
    private final TextTokenizer tokenizer;
    private final ModelConfig model;
    private final List<Integer> endTokens;
    private final Map<List<String>, LabelSet> labelSets = new HashMap<>(); // encoded once, for all pieces of a task

    /** Items of a task, as many as are evaluated at a time, and the adapter they are asked of. */
    record Block(TaskItems items, int from, int to, int slot) {

        List<Example> examples() {
            return items.examples().subList(from, to);
        }
    }

    /**
     * @param slots the adapters to evaluate; null for the base model
     */
    public TaskEvaluator(CausalLM model, TextTokenizer tokenizer, AdapterSlots slots) {
        this(model, tokenizer, slots, () -> false);
    }

    /** As above; {@code stop} is asked before every pass and ends an evaluation with a {@link CancellationException}. */
    public TaskEvaluator(CausalLM model, TextTokenizer tokenizer, AdapterSlots slots, BooleanSupplier stop) {
        this.runner = new ProbeRunner(model, slots, stop);
        this.tokenizer = tokenizer;
        this.model = model.config();
        this.endTokens = model.config().eosTokenIds();
    }

    /**
     * Evaluates one split of a task with the adapter in slot 0.
     *
     * @param progress is told after every pass how many tokens it read
     * @throws InputException if the task has no such split, or an example doesn't fit the model
     */
    public TaskResult evaluate(Task task, Split split, LongConsumer progress) {
        LongExamples.refuse(List.of(task), split, tokenizer, model, "");
        TaskItems items = TaskItems.of(task, split, 0);
        return items.result(evaluate(List.of(new Block(items, 0, items.size(), 0)), progress).getFirst());
    }

    /** Is told the progress of an evaluation. */
    public interface Listener {

        /** Ignores everything. */
        Listener SILENT = new Listener() {
            @Override
            public void read(long tokens) {
            }

            @Override
            public void answered(long items) {
            }
        };

        /** {@code tokens} more tokens went through the model. */
        void read(long tokens);

        /** {@code items} more items were answered, and are in the log. */
        void answered(long items);
    }

    /**
     * Evaluates tasks as far as the log has no answers, and adds these to it piece by piece: items of several small tasks
     * together, a large task in parts.
     *
     * @param arm      the name under which the answers are kept
     * @param slotOf   the slot of the adapter that answers task i
     * @throws CancellationException once a stop is asked for; what is in the log stays
     */
    public void evaluate(String arm, List<TaskItems> tasks, IntUnaryOperator slotOf, EvaluationLog log, Listener listener) {
        var piece = new ArrayList<Block>();
        long characters = 0;
        for (int t = 0; t < tasks.size(); t++) {
            TaskItems task = tasks.get(t);
            int from = log.open(arm, task, 0);
            while (from < task.size()) {
                int end = log.closed(arm, task, from);
                int to = from;
                while (to < end && characters < PIECE) {
                    Example example = task.examples().get(to++);
                    characters += example.prompt().length() + example.completion().length();
                }
                piece.add(new Block(task, from, to, slotOf.applyAsInt(t)));
                if (characters >= PIECE) {
                    answer(arm, piece, log, listener);
                    piece.clear();
                    characters = 0;
                }
                from = log.open(arm, task, to);
            }
        }
        answer(arm, piece, log, listener);
    }

    private void answer(String arm, List<Block> piece, EvaluationLog log, Listener listener) {
        List<boolean[]> answers = evaluate(piece, listener::read);
        for (int i = 0; i < piece.size(); i++) {
            log.add(arm, piece.get(i).items(), piece.get(i).from(), answers.get(i));
        }
        listener.answered(piece.stream().mapToLong(block -> block.to() - block.from()).sum());
    }

    /** Whether the answer to each item of each block is right. All blocks share their passes. */
    List<boolean[]> evaluate(List<Block> blocks, LongConsumer progress) {
        var ranked = new ArrayList<Search>();
        var matched = new ArrayList<Search>();
        var answers = new ArrayList<boolean[]>();
        ExampleEncoder encoder = ExampleEncoder.forScoring(tokenizer, model);
        for (Block block : blocks) {
            boolean[] correct = new boolean[block.to() - block.from()];
            answers.add(correct);
            List<String> labels = block.items().labels();
            LabelSet set = labels.isEmpty() ? null
                    : labelSets.computeIfAbsent(labels, l -> new LabelSet(l, ClosedLabels.ids(l, tokenizer, endTokens)));
            for (int i = 0; i < correct.length; i++) {
                Example example = block.examples().get(i);
                (set == null ? matched : ranked).add(new Search(example, encoder.encode(example), set, block.slot(), correct, i));
            }
        }
        rank(ranked, progress);
        match(matched, progress);
        return answers;
    }

    /** A closed set of labels with the tokens of each. */
    private record LabelSet(List<String> labels, int[][] ids, int[] first, int longest) {
        LabelSet(List<String> labels, int[][] ids) {
            this(labels, ids, Arrays.stream(ids).mapToInt(label -> label[0]).distinct().toArray(),
                    Arrays.stream(ids).mapToInt(label -> label.length).max().orElseThrow());
        }
    }

    /** An item whose answer is looked for; {@code correct[at]} gets whether it is right. */
    private record Search(Example example, EncodedExample encoded, LabelSet set, int slot, boolean[] correct, int at) {
        int[] prompt() {
            return encoded.prompt();
        }
    }

    /**
     * Finds each item's best label without scoring all of them. One pass over the prompts gives the log-probability of
     * every label's first token, which is an upper bound of the label's; labels are then scored from the highest bound
     * down, until no bound is above the best score. The outcome is that of scoring all.
     */
    private void rank(List<Search> items, LongConsumer progress) {
        var firstProbes = new ArrayList<Probe>();
        for (Search item : items) {
            int longest = item.encoded().promptLength() + item.set().longest();
            if (longest > model.maxPositions()) {
                throw new InputException(item.example().source() + ": with the longest of the task's labels the example has "
                        + longest + " tokens, more than the model's context of " + model.maxPositions() + "; shorten or remove it");
            }
            firstProbes.add(new Probe.Alternatives(item.slot(), item.prompt(), item.set().first()));
        }
        List<Answer> firstAnswers = runner.run(firstProbes, progress);

        var searches = new ArrayList<LabelSearch>();
        for (int i = 0; i < items.size(); i++) {
            LabelSet set = items.get(i).set();
            searches.add(new LabelSearch(set.ids(), set.first(), firstAnswers.get(i).logprob()));
        }
        while (true) {
            var open = IntStream.range(0, searches.size()).filter(i -> searches.get(i).next() >= 0).toArray();
            if (open.length == 0) {
                break;
            }
            var probes = new ArrayList<Probe>();
            for (int i : open) {
                Search item = items.get(i);
                probes.add(Probe.Continuation.of(item.slot(), item.prompt(), item.set().ids()[searches.get(i).next()], 1));
            }
            List<Answer> answers = runner.run(probes, progress);
            for (int j = 0; j < open.length; j++) {
                searches.get(open[j]).scored(answers.get(j).sum());
            }
        }
        for (int i = 0; i < items.size(); i++) {
            Search item = items.get(i);
            item.correct()[item.at()] = item.set().labels().get(searches.get(i).best()).equals(item.example().completion());
        }
    }

    private void match(List<Search> items, LongConsumer progress) {
        var probes = new ArrayList<Probe>();
        for (Search item : items) {
            EncodedExample example = item.encoded();
            // What follows the completion is read from the most probable token; the target there does not matter.
            int[] ids = Arrays.copyOf(example.ids(), example.length() + 1);
            probes.add(new Probe.Continuation(item.slot(), ids, example.promptLength()));
        }
        List<Answer> answers = runner.run(probes, progress);
        for (int i = 0; i < items.size(); i++) {
            int[] said = answers.get(i).argmax();
            EncodedExample wanted = items.get(i).encoded();
            items.get(i).correct()[items.get(i).at()] =
                    Arrays.equals(said, 0, wanted.lossTokens(), wanted.ids(), wanted.promptLength(), wanted.length())
                            && ends(said[wanted.lossTokens()]);
        }
    }

    private boolean ends(int token) {
        return endTokens.contains(token)
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
