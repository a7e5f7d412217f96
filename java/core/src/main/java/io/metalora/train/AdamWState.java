package io.metalora.train;

import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AdamW;

/**
 * First and second moments of AdamW.
 *
 * @param m [slots, P] or [P]
 * @param v the same shape
 */
record AdamWState(Tensor m, Tensor v) {

    static AdamWState in(BufferPlan plan, long... shape) {
        return new AdamWState(plan.floats(shape), plan.floats(shape));
    }

    AdamW.Vectors of(Tensor parameter, Tensor gradient) {
        return new AdamW.Vectors(parameter, gradient, m, v);
    }
}
