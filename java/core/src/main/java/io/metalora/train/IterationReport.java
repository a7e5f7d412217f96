package io.metalora.train;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;

/**
 * What one iteration measured. Losses are mean negative log-probabilities of a completion token, in nats.
 *
 * @param iteration        iterations done with this one, from 1
 * @param lr               learning rate of the step on the shared adapter
 * @param loss             of the gradient the shared adapter was moved by: the mean query loss over the tasks, or the
 *                         batch's loss
 * @param gradientNorm     of that gradient before clipping
 * @param tokens           tokens that went through the model, forward and backward, in this iteration
 * @param seconds          wall time
 * @param tasks            one entry a task of the meta-batch, in slot order; empty for joint LoRA
 * @param gram             of the tasks' query gradients; of no task for joint LoRA
 * @param draws            what was drawn: one entry a task
 * @param innerRates       that the inner steps were taken with, by the path of the Linear, where they are learned; else empty
 */
public record IterationReport(long iteration, double lr, double loss, double gradientNorm, long tokens, double seconds,
                              List<TaskReport> tasks, Gram gram, List<Draw> draws, Map<String, Float> innerRates) {

    public IterationReport {
        tasks = List.copyOf(tasks);
        draws = List.copyOf(draws);
        innerRates = Collections.unmodifiableMap(new LinkedHashMap<>(innerRates)); // in their order
    }

    /**
     * One task of a meta-batch.
     *
     * @param task         its name
     * @param supportLoss  on the support set at the start of each inner step: [0] is the shared adapter, [i] after i steps
     * @param adaptedLoss  on the support set after the last inner step, where it was measured and is finite
     * @param queryLoss    on the query set at the adapted parameters
     * @param gradientNorm of the query gradient
     */
    public record TaskReport(String task, List<Double> supportLoss, OptionalDouble adaptedLoss, double queryLoss,
                             double gradientNorm) {
        public TaskReport {
            supportLoss = List.copyOf(supportLoss);
        }
    }

    /**
     * What was drawn from a task, as indices into its training split, in the order drawn.
     *
     * @param task    its name
     * @param support to adapt on; empty for joint LoRA
     * @param query   to take the gradient on; for joint LoRA the batch's samples of this task
     * @param probability of the task among those that were left, where it was drawn
     */
    public record Draw(String task, List<Integer> support, List<Integer> query, OptionalDouble probability) {
        public Draw {
            support = List.copyOf(support);
            query = List.copyOf(query);
        }
    }

    /** Tokens a second. */
    public double tokensPerSecond() {
        return tokens / seconds;
    }

    /** Mean over the tasks of the support loss before stage 1; empty without inner steps. */
    public OptionalDouble supportLossBefore() {
        return tasks.stream().filter(t -> !t.supportLoss.isEmpty()).mapToDouble(t -> t.supportLoss.getFirst()).average();
    }

    /** Mean over the tasks of the support loss after stage 1, where it was measured. */
    public OptionalDouble supportLossAfter() {
        return tasks.stream().filter(t -> t.adaptedLoss.isPresent()).mapToDouble(t -> t.adaptedLoss.getAsDouble()).average();
    }
}
