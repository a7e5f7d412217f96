package io.metalora.train;

import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import java.util.function.IntConsumer;

/**
 * The gradient of the query loss through k inner steps of SGD (MAML, Finn, Abbeel and Levine 2017), from gradients alone. With
 * theta_{j+1} = theta_j - alpha grad L(theta_j) it is v_0, where v_k is the query gradient at theta_k and
 * v_j = v_{j+1} - alpha H(theta_j) v_{j+1}. The product with the Hessian is a central difference of gradients,
 * (grad L(theta_j + e v) - grad L(theta_j - e v)) / (2 e): two more passes over the support set for each inner step.
 */
final class ExactDirection {

    /**
     * Length of the difference's half, relative to the length of the parameters. Measured against PyTorch: an update is off by 1.1e-3
     * with 2e-3, 2.7e-4 with 1e-3, 1.6e-4 with this.
     */
    private static final double STEP = 5e-4;

    private final Ops ops;
    private final AdapterSlots slots;
    private final SlotVectors vectors;
    private final SlotVectors one;
    private final long count;
    private final double innerLr;
    private final Tensor path; // [k, n, P], the parameters before each inner step
    private final Tensor direction; // [n, P], v
    private final Tensor ahead; // [n, P], the gradients at theta_j + e v
    private final Tensor norms; // [2, n], of the directions and of the parameters
    private final float[] normsOnHost;

    /** @param slots parameters and gradients; stay the caller's */
    ExactDirection(BufferPlan plan, AdapterSlots slots, int steps, double innerLr) {
        int n = slots.slots();
        this.ops = Ops.of(plan.device());
        this.slots = slots;
        this.count = slots.layout().parameters();
        this.vectors = SlotVectors.dense(count, n);
        this.one = SlotVectors.dense(count, 1);
        this.innerLr = innerLr;
        this.path = plan.floats(steps, n, count);
        this.direction = plan.floats(n, count);
        this.ahead = plan.floats(n, count);
        this.norms = plan.floats(2L * n);
        this.normsOnHost = new float[2 * n];
    }

    /** Keeps the parameters of all slots as they are before an inner step. */
    void keep(int step) {
        path.copyFrom(slots.parameters(), 0, step * slots.slots() * count, slots.slots() * count);
    }

    /**
     * Turns the query gradients, which lie in the slots at the adapted parameters, into those by the parameters before the first
     * step. The slots' parameters are then those, disturbed; waits for the device once a step.
     *
     * @param gradients of an inner step: adds the support losses' gradients at the slots' parameters to those of the slots
     */
    void through(int steps, IntConsumer gradients) {
        int n = slots.slots();
        direction.copyFrom(slots.gradients(), 0, 0, n * count);
        for (int step = steps - 1; step >= 0; step--) {
            at(step);
            ops.clipGlobalNorm(vectors, direction, norms.view(0, n), 0);
            ops.clipGlobalNorm(vectors, slots.parameters(), norms.view(n, n), 0);
            norms.download(normsOnHost);
            gradients(step, 1, gradients);
            ahead.copyFrom(slots.gradients(), 0, 0, n * count);
            gradients(step, -1, gradients);
            for (int slot = 0; slot < n; slot++) {
                double half = half(slot);
                if (half > 0) {
                    float by = (float) (innerLr / (2 * half));
                    add(direction, slot, ahead, -by);
                    add(direction, slot, slots.gradients(), by);
                }
            }
        }
        slots.gradients().copyFrom(direction, 0, 0, n * count);
    }

    private void at(int step) {
        long all = slots.slots() * count;
        slots.parameters().copyFrom(path, step * all, 0, all);
    }

    /** The slots' gradients at a step's parameters, moved along the direction. */
    private void gradients(int step, int sign, IntConsumer gradients) {
        at(step);
        for (int slot = 0; slot < slots.slots(); slot++) {
            add(slots.parameters(), slot, direction, (float) (sign * half(slot)));
        }
        slots.zeroGradients();
        gradients.accept(step);
    }

    /** e of a slot; 0 where its direction is. */
    private double half(int slot) {
        double length = normsOnHost[slot];
        double parameters = normsOnHost[slots.slots() + slot];
        return length > 0 ? STEP * Math.max(parameters, 1e-3) / length : 0;
    }

    /** to += factor * of, in a slot. */
    private void add(Tensor to, int slot, Tensor of, float factor) {
        ops.sgd(one, to.view(slot * count, count), of.view(slot * count, count), -factor, 0);
    }
}
