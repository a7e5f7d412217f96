package io.metalora.eval;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.MixtureLayout;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;

/**
 * How much each head of a mixture is used on a task.
 *
 * @param tokens  that were measured, of prompts and completions
 * @param weights of each head, its weight averaged over these tokens and the adapted Linears; their sum is 1
 */
public record HeadUse(String task, long tokens, List<Double> weights) {

    /** Of one pass, where no example is longer. */
    private static final int TOKENS = 512;

    /** Mixtures that are held at once: enough that a pass is full, and memory does not grow with the tasks. */
    private static final int AT_ONCE = 8;

    public HeadUse {
        weights = List.copyOf(weights);
    }

    /**
     * Measures mixtures on training samples of tasks, those of several tasks in one pass; mixtures of their own a few at a time.
     *
     * @param mixtures of all tasks the same one, or one of each task, all of the same shape
     * @param tasks    as many as mixtures, none without samples
     * @param most     samples of a task at most, its first ones
     * @param stop     asked before every pass; true ends the measurement with a {@link CancellationException}
     * @return one a task, in their order
     */
    public static List<HeadUse> of(CausalLM model, List<LoraAdapter> mixtures, List<EncodedTask> tasks, int most,
            BooleanSupplier stop) {
        if (tasks.isEmpty()) {
            return List.of();
        }
        boolean shared = mixtures.stream().allMatch(mixture -> mixture == mixtures.getFirst());
        int size = shared ? tasks.size() : AT_ONCE;
        var all = new ArrayList<HeadUse>();
        for (int from = 0; from < tasks.size(); from += size) {
            int to = Math.min(tasks.size(), from + size);
            all.addAll(ofGroup(model, mixtures.subList(from, to), tasks.subList(from, to), shared, most, stop));
        }
        return all;
    }

    private static List<HeadUse> ofGroup(CausalLM model, List<LoraAdapter> mixtures, List<EncodedTask> tasks, boolean shared,
            int most, BooleanSupplier stop) {
        var layout = (MixtureLayout) mixtures.getFirst().layout();
        var limits = PassLimits.ofTokens(Math.max(TOKENS, EncodedTask.longest(tasks)), shared ? 1 : tasks.size());
        var sums = new double[tasks.size()][layout.heads()];
        var tokens = new long[tasks.size()];
        try (var slots = shared ? AdapterSlots.of(mixtures.getFirst()) : AdapterSlots.of(mixtures);
                var pass = PassAccess.get().training(model, limits, layout)) {
            var pack = new TokenPack(limits);
            var taskOf = new int[limits.tokens()];
            Runnable measure = () -> {
                if (stop.getAsBoolean()) {
                    throw new CancellationException("stopped on request");
                }
                pass.forward(pack, slots);
                pass.addHeadWeights(taskOf, sums);
                pack.clear(limits.slots());
            };
            pack.clear(limits.slots());
            for (int t = 0; t < tasks.size(); t++) {
                List<EncodedExample> examples = tasks.get(t).examples();
                for (EncodedExample example : examples.subList(0, Math.min(most, examples.size()))) {
                    if (!pack.fits(example.length(), example.promptLength())) {
                        measure.run();
                    }
                    int before = pack.tokens();
                    pack.add(shared ? 0 : t, example.ids(), example.promptLength(), 1);
                    Arrays.fill(taskOf, before, pack.tokens(), t);
                    tokens[t] += pack.tokens() - before;
                }
            }
            measure.run();
        }
        return IntStream.range(0, tasks.size()).mapToObj(t -> new HeadUse(tasks.get(t).name(), tokens[t],
                Arrays.stream(sums[t]).map(sum -> sum / tokens[t]).boxed().toList())).toList();
    }
}
