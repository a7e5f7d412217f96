package io.metalora.model;

import io.metalora.adapter.Projection;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.RmsNorm;
import java.util.EnumMap;
import java.util.Map;

/**
 * The frozen weights of one decoder layer. Norms and biases are F32. A {@link LinearGroup}'s weight and bias are those
 * of its first member; the others have none of their own.
 *
 * @param biases   of the groups that have one
 * @param queryNorm of each query head, null where the architecture has none; keyNorm likewise
 */
record LayerWeights(
        Map<Projection, FrozenWeight> weights,
        Map<Projection, Tensor> biases,
        RmsNorm inputNorm,
        RmsNorm postAttentionNorm,
        RmsNorm queryNorm,
        RmsNorm keyNorm) {

    LayerWeights {
        weights = new EnumMap<>(weights);
        biases = biases.isEmpty() ? Map.of() : new EnumMap<>(biases);
    }

    FrozenWeight weight(Projection p) {
        return weights.get(p);
    }

    /** Null where the group has none. */
    Tensor bias(Projection p) {
        return biases.get(p);
    }
}
