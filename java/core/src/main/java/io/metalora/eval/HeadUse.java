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

/**
 * How much each head of a mixture is used on a task.
 *
 * @param tokens  that were measured, of prompts and completions
 * @param weights of each head, its weight averaged over these tokens and the adapted Linears; their sum is 1
 */
public record HeadUse(String task, long tokens, List<Double> weights) {

    /** Of one pass, where no example is longer. */
    private static final int TOKENS = 512;

    public HeadUse {
        weights = List.copyOf(weights);
    }

    /**
     * Measures a mixture on training samples of a task.
     *
     * @param most samples of the task at most, its first ones
     * @param stop asked before every pass; true ends the measurement with a {@link CancellationException}
     */
    public static HeadUse of(CausalLM model, LoraAdapter mixture, EncodedTask task, int most, BooleanSupplier stop) {
        List<EncodedExample> examples = task.examples().subList(0, Math.min(most, task.examples().size()));
        int longest = examples.stream().mapToInt(EncodedExample::length).max().orElseThrow();
        var limits = PassLimits.ofTokens(Math.max(TOKENS, longest), 1);
        var sums = new double[((MixtureLayout) mixture.layout()).heads()];
        long tokens = 0;
        try (var slots = AdapterSlots.of(mixture); var pass = PassAccess.get().training(model, limits, mixture.layout())) {
            var pack = new TokenPack(limits);
            for (int from = 0; from < examples.size(); ) {
                if (stop.getAsBoolean()) {
                    throw new CancellationException("stopped on request");
                }
                pack.clear(1);
                while (from < examples.size() && pack.fits(examples.get(from).length(), examples.get(from).promptLength())) {
                    pack.add(0, examples.get(from).ids(), examples.get(from).promptLength(), 1);
                    from++;
                }
                pass.forward(pack, slots);
                pass.addHeadWeights(sums);
                tokens += pack.tokens();
            }
        }
        long all = tokens;
        var weights = new ArrayList<Double>();
        Arrays.stream(sums).forEach(sum -> weights.add(sum / all));
        return new HeadUse(task.name(), tokens, weights);
    }
}
