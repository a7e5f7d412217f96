package io.metalora.eval;

import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.task.EncodedExample;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.LongConsumer;

/**
 * Log-probabilities of completions, computed for many examples in one pass: sorted by length, packed up to a token budget
 * without padding.
 */
public final class Scorer implements AutoCloseable {

    private final ProbeRunner runner;

    /**
     * What one completion got.
     *
     * @param tokens  tokens of the completion
     * @param logprob natural logarithm of its probability after the prompt: the sum over its tokens
     */
    public record Score(int tokens, double logprob) {
    }

    /**
     * @param slots the adapter to score with, in slot 0; null for the base model
     */
    public Scorer(CausalLM model, AdapterSlots slots) {
        this(model, slots, () -> false);
    }

    /** As above; {@code stop} is asked before every pass and ends the scoring with a {@link CancellationException}. */
    public Scorer(CausalLM model, AdapterSlots slots, BooleanSupplier stop) {
        this.runner = new ProbeRunner(model, slots, stop);
    }

    /**
     * Scores the examples.
     *
     * @param progress is told after every pass how many tokens it read
     * @return one score an example, in the given order
     * @throws io.metalora.runtime.InputException if weights of the model or of the adapter are not finite
     */
    public List<Score> score(List<EncodedExample> examples, LongConsumer progress) {
        var probes = new ArrayList<Probe>(examples.size());
        for (EncodedExample example : examples) {
            probes.add(new Probe.Continuation(0, example.ids(), example.promptLength()));
        }
        var scores = new ArrayList<Score>(examples.size());
        for (Probe.Answer answer : runner.run(probes, progress)) {
            scores.add(new Score(answer.logprob().length, answer.sum()));
        }
        return scores;
    }

    @Override
    public void close() {
        runner.close();
    }
}
