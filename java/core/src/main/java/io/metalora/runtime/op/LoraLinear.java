package io.metalora.runtime.op;

import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;

/**
 * A frozen Linear with its low-rank term, or several Linears that read the same input, stacked into one weight.
 *
 * @param weight [out, in]
 * @param bias   F32 [out], nullable
 * @param term   null: the frozen Linear alone
 */
public record LoraLinear(FrozenWeight weight, Tensor bias, LowRankTerm term) {
    /** Without bias and low-rank term. */
    public static LoraLinear frozen(FrozenWeight weight) {
        return new LoraLinear(weight, null, null);
    }
}
