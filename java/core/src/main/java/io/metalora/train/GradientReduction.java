package io.metalora.train;

import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;

/** From the gradients of the slots to one, by an {@link Aggregation}, with their Gram matrix. */
final class GradientReduction {

    private final Ops ops;
    private final AdapterSlots slots;
    private final SlotVectors vectors;
    private final Aggregation aggregation;
    private final Tensor weights;
    private final Tensor gradient;
    private final Tensor gram;
    private final float[] weightsOnHost;
    private final double[] gramOnHost;

    /** @param slots whose gradients are reduced; stay the caller's */
    GradientReduction(BufferPlan plan, AdapterSlots slots, Aggregation aggregation) {
        int n = slots.slots();
        this.ops = Ops.of(plan.device());
        this.slots = slots;
        this.vectors = SlotVectors.dense(slots.layout().parameters(), slots.slots());
        this.aggregation = aggregation;
        this.weights = plan.floats(n);
        this.gradient = plan.floats(slots.layout().parameters());
        this.gram = plan.doubles(n, n);
        this.weightsOnHost = new float[n];
        this.gramOnHost = new double[n * n];
    }

    /**
     * Queues the reduction; one pass over the gradients where the weights are known before.
     *
     * @param iteration iterations done before
     * @param samples   [n], training samples of the task of each slot
     */
    void queue(long iteration, int[] samples) {
        if (!aggregation.dependsOnGradients()) {
            aggregation.weights(null, iteration, samples, weightsOnHost);
            weights.upload(weightsOnHost, weightsOnHost.length);
            ops.taskReduce(vectors, slots.gradients(), weights, gradient, gram);
            return;
        }
        ops.taskReduce(vectors, slots.gradients(), null, null, gram);
        gram.download(gramOnHost);
        aggregation.weights(gramOnHost, iteration, samples, weightsOnHost);
        weights.upload(weightsOnHost, weightsOnHost.length);
        ops.taskReduce(vectors, slots.gradients(), weights, gradient, null);
    }

    /** [n], of the slots in the reduction that was queued. */
    float[] weights() {
        return weightsOnHost;
    }

    /** F32 [P], once the reduction has run. */
    Tensor gradient() {
        return gradient;
    }

    /** [n, n], row-major, of the reduction that was queued; waits for it. */
    double[] awaitGram() {
        if (!aggregation.dependsOnGradients()) { // else it is there
            gram.download(gramOnHost);
        }
        return gramOnHost;
    }
}
