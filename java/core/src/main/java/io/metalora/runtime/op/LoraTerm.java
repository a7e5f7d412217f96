package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;
import java.util.List;

/** {@code y += scale * B_i A_i drop(x)} for the tokens of slot i. */
public final class LoraTerm extends LowRankTerm {

    /**
     * @param parts       in the order of their rows, of which they share none; one at least, {@code ML_LORA_TERMS} at most
     * @param h           F32 [tokens, parts * rank], written forward and read backward
     * @param slotOffsets I32 [slots + 1]
     */
    public LoraTerm(int rank, float scale, List<Part> parts, Tensor h, Tensor slotOffsets) {
        super(rank, scale, parts, h, slotOffsets);
    }
}
