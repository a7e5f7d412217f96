package io.metalora.train;

import io.metalora.config.InnerOptimizer;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AdamW;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import io.metalora.task.EncodedExample;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;

/**
 * Stage 1: every slot starts from the shared adapter and takes k gradient steps on its own support set,
 * theta_i &lt;- theta_i - alpha grad L_{S_i}(theta_i). One pass over the frozen weights serves the step of all slots. What of the
 * adapter is not adapted has no gradient here, and so stays as it is.
 */
final class InnerLoop {

    // torch.optim.AdamW's defaults; no weight decay, which would pull the copies away from the shared adapter.
    private static final float BETA1 = 0.9f;
    private static final float BETA2 = 0.999f;
    private static final float EPS = 1e-8f;

    private final Ops ops;
    private final AdapterSlots slots;
    private final SlotVectors vectors;
    private final TrainConfig.Meta options;
    private final InnerRates rates;
    private final AdamWState adamW;
    private final List<Step> steps = new ArrayList<>(); // of each range of the rates
    private final Tensor norms;

    /** What a step on a range reads and writes, in all slots. */
    private record Step(SlotVectors vectors, AdamW.Vectors in) {}

    /**
     * @param slots parameters and gradients; stay the caller's
     * @param rates read before each step
     */
    InnerLoop(BufferPlan plan, AdapterSlots slots, TrainConfig.Meta options, InnerRates rates) {
        this.ops = Ops.of(plan.device());
        this.slots = slots;
        this.vectors = SlotVectors.dense(slots.layout().parameters(), slots.slots());
        this.options = options;
        this.rates = rates;
        this.adamW = options.innerOptimizer() == InnerOptimizer.ADAMW ? AdamWState.in(plan, slots.parameters().shape()) : null;
        this.norms = plan.floats(slots.slots());
    }

    /** One for each range of the rates; views, so made once the buffers are there. */
    private List<Step> steps() {
        if (steps.isEmpty()) {
            rates.ranges().forEach(range -> steps.add(step(range)));
        }
        return steps;
    }

    private Step step(InnerRates.Range range) {
        var of = new SlotVectors(range.count(), vectors.stride(), slots.slots());
        long floats = (of.slots() - 1) * of.stride() + of.count();
        Tensor parameters = slots.parameters().view(range.offset(), floats);
        Tensor gradients = slots.gradients().view(range.offset(), floats);
        return new Step(of, adamW == null ? new AdamW.Vectors(parameters, gradients, null, null)
                : new AdamW.Vectors(parameters, gradients, adamW.m().view(range.offset(), floats),
                        adamW.v().view(range.offset(), floats)));
    }

    /**
     * Queues the adaptation of every slot.
     *
     * @param shared      [P], where all slots start
     * @param support     the support set of each slot
     * @param steps       k
     * @param dropoutSeed of inner step i: {@code dropoutSeed + i}
     * @param losses      [k][slots], written by {@link GradientPass#await}: the support losses at the start of each step
     * @param before      is called with the number of each step before it is taken
     */
    void queue(Tensor shared, List<List<EncodedExample>> support, int steps, GradientPass pass, long dropoutSeed,
               double[][] losses, IntConsumer before) {
        begin(shared);
        for (int step = 0; step < steps; step++) {
            before.accept(step);
            slots.zeroGradients();
            pass.backward(support, slots, options.adapts(), dropoutSeed + step, losses[step]);
            descend(step);
        }
    }

    /** Queues the way from the slots' parameters back to the shared ones, theta - theta_i, into the slots' gradients. */
    void queueWayBack(Tensor shared) {
        ops.broadcast(vectors, slots.gradients(), shared);
        ops.sgd(vectors, slots.gradients(), slots.parameters(), 1, 0);
    }

    /** Queues the norm of each slot's parameters, which is not finite where one of them is not. */
    void queueNorms() {
        ops.clipGlobalNorm(vectors, slots.parameters(), norms, 0);
    }

    /** Waits for the norms that were queued. */
    float[] awaitNorms() {
        return norms.toFloats();
    }

    private void begin(Tensor shared) {
        slots.setAll(shared);
        if (adamW != null) {
            ops.fill(adamW.m(), adamW.m().elements(), 0);
            ops.fill(adamW.v(), adamW.v().elements(), 0);
        }
    }

    private void descend(int step) {
        if (options.innerClip() > 0) {
            ops.clipGlobalNorm(vectors, slots.gradients(), norms, (float) options.innerClip());
        }
        for (int i = 0; i < steps().size(); i++) {
            SlotVectors of = steps().get(i).vectors;
            AdamW.Vectors in = steps().get(i).in;
            switch (options.innerOptimizer()) {
                case SGD -> ops.sgd(of, in.parameter(), in.gradient(), rates.rate(i), 0);
                case ADAMW -> ops.adamw(of, in, null, step + 1, new AdamW(rates.rate(i), BETA1, BETA2, EPS, 0));
            }
        }
    }
}
