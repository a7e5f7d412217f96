package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.OuterDirection;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import io.metalora.task.Episode;
import java.util.List;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/**
 * Stage 1 on the support sets of a batch of episodes, and what each task contributes to the outer step, by default the gradient
 * of its query loss at the parameters that stage 1 gave:
 * what an iteration of MeTA-LoRA does before the tasks' gradients become one.
 */
final class EpisodeGradients implements AutoCloseable {

    private static final String LOWER_INNER = "lower meta.inner_lr, or set meta.inner_clip";

    private final LoraAdapter shared;
    private final int steps;
    private final AdapterSlots slots;
    private final GradientPass pass;
    private final InnerLoop inner;
    private final LearnedRates learned; // null: the inner rates stay as they are
    private final OuterDirection outer;
    private final ExactDirection exact; // null unless outer is
    private final double[][] supportLoss;
    private final double[] adaptedLoss;
    private final double[] queryLoss;
    private final double[] unused;

    /**
     * What it holds beside the buffers of a pass.
     *
     * @param learned null unless the inner rates are
     * @param exact   null unless the outer direction is
     */
    record Buffers(AdapterSlots slots, InnerLoop inner, LearnedRates learned, ExactDirection exact, LossLedger losses) {

        static Buffers in(BufferPlan plan, AdapterLayout layout, PassLimits limits, TrainConfig.Meta options) {
            AdapterSlots slots = PassAccess.get().slots(plan, layout, options.tasksPerIteration());
            var rates = InnerRates.of(layout, options);
            return new Buffers(slots, new InnerLoop(plan, slots, options, rates),
                    options.innerRateLr() > 0 ? new LearnedRates(plan, slots, rates, options.innerRateLr()) : null,
                    options.outer() == OuterDirection.EXACT ? new ExactDirection(plan, slots, options.innerSteps(), options.innerLr()) : null,
                    new LossLedger(plan, limits));
        }
    }

    /**
     * @param shared  where every task starts; stays the caller's
     * @param buffers for passes within the limits; stay the caller's
     * @param stop    asked before every pass
     */
    EpisodeGradients(CausalLM model, LoraAdapter shared, PassLimits limits, Buffers buffers, TrainConfig.Meta options, BooleanSupplier stop) {
        int n = options.tasksPerIteration();
        Device device = model.device();
        this.outer = options.outer();
        requireArithmetic(outer, device);
        this.shared = shared;
        this.steps = options.innerSteps();
        this.slots = buffers.slots();
        this.inner = buffers.inner();
        this.learned = buffers.learned();
        this.exact = buffers.exact();
        this.pass = new GradientPass(model, shared.layout(), limits, buffers.losses(), stop);
        this.supportLoss = new double[steps][n];
        this.adaptedLoss = new double[n];
        this.queryLoss = new double[n];
        this.unused = new double[n];
    }

    /** @throws InputException if the device's products are too coarse for the direction */
    static void requireArithmetic(OuterDirection outer, Device device) {
        if (outer == OuterDirection.EXACT && device.multipliesInBf16()) {
            throw new InputException("meta.outer: exact takes differences of gradients that are too small for products in BF16, in which "
                    + "this device computes; use first-order or reptile, or compute.backend: cpu with compute.arithmetic: fp32");
        }
    }

    /**
     * Reserves scratch memory for this and for what follows it in an iteration.
     *
     * @param following queues the rest of an iteration
     * @return bytes that the largest op needs
     */
    long plan(Runnable following) {
        return pass.plan(slots, () -> {
            // The ops of one inner step are those of every one.
            queue(List.of(), List.of(), Math.min(1, steps), true, 0);
            following.run();
        });
    }

    /** Runs an iteration on these passes; see {@link GradientPass#whole}. */
    <T> T whole(Supplier<T> iteration) {
        return pass.whole(iteration);
    }

    /**
     * Queues stage 1 and the query gradients, which will be in the slots: those of the i-th episode in slot i.
     *
     * @param batch   an episode per slot
     * @param measure whether the support losses after stage 1 are measured too
     */
    void queue(List<Episode> batch, boolean measure, long dropoutSeed) {
        if (batch.size() != slots.slots()) {
            throw new IllegalArgumentException(batch.size() + " episodes for " + slots.slots() + " slots");
        }
        var support = steps == 0 ? List.<List<EncodedExample>>of() : batch.stream().map(Episode::supportExamples).toList();
        queue(support, batch.stream().map(Episode::queryExamples).toList(), steps, measure, dropoutSeed);
    }

    private void queue(List<List<EncodedExample>> support, List<List<EncodedExample>> query, int count, boolean measure, long dropoutSeed) {
        inner.queue(shared.parameters(), support, count, pass, dropoutSeed, supportLoss, step -> {
            if (exact != null) {
                exact.keep(step);
            }
        });
        if (measure && count > 0) {
            pass.forward(support, slots, adaptedLoss);
        }
        if (outer == OuterDirection.REPTILE) {
            pass.forward(query, slots, queryLoss);
            inner.queueWayBack(shared.parameters());
            return;
        }
        slots.zeroGradients();
        pass.backward(query, slots, AdapterPart.ALL, dropoutSeed + count, queryLoss);
        if (learned != null) {
            learned.queue(shared.parameters());
        }
        if (exact != null) {
            exact.through(count, step -> pass.backward(support, slots, AdapterPart.ALL, dropoutSeed + step, unused));
        }
    }

    /**
     * Waits for what was queued.
     *
     * @param batch     the episodes that were queued
     * @param iteration for messages, from 1
     * @throws TrainingDivergedException if a loss is not finite
     */
    void await(List<Episode> batch, long iteration) {
        pass.await();
        if (iteration == 1) {
            pass.requireFiniteBeginning(steps == 0 ? queryLoss : supportLoss[0]);
        }
        for (int step = 0; step < steps; step++) {
            requireFinite(supportLoss[step], batch, iteration, "support loss after " + step + " inner steps",
                    step == 0 ? "lower optimizer.lr" : LOWER_INNER);
        }
        if (learned != null) {
            learned.await();
        }
        requireFinite(queryLoss, batch, iteration, "query loss", steps == 0 ? "lower optimizer.lr" : LOWER_INNER + ", or lower optimizer.lr");
    }

    private static void requireFinite(double[] losses, List<Episode> batch, long iteration, String what, String help) {
        for (int i = 0; i < losses.length; i++) {
            if (!Double.isFinite(losses[i])) {
                throw new TrainingDivergedException("iteration " + iteration + ", task " + batch.get(i).task().name()
                        + ": the " + what + " is " + losses[i] + "; " + help);
            }
        }
    }

    /** The slots that hold the gradients. */
    AdapterSlots slots() {
        return slots;
    }

    /** The inner rates that are learned; null where they stay as they are. */
    LearnedRates learned() {
        return learned;
    }

    /** [steps][n], at the start of each inner step; as are the others, of the batch that was awaited last. */
    double[][] supportLoss() {
        return supportLoss;
    }

    /** [n], after stage 1, where it was measured. */
    double[] adaptedLoss() {
        return adaptedLoss;
    }

    /** [n], at the adapted parameters. */
    double[] queryLoss() {
        return queryLoss;
    }

    /** Tokens of the examples that went through since the last call. */
    long takeTokens() {
        return pass.takeTokens();
    }

    /** Passes that were replayed; see {@link io.metalora.model.pass.Pass#replayed}. */
    long replayed() {
        return pass.replayed();
    }

    @Override
    public void close() {
        pass.close();
    }
}
