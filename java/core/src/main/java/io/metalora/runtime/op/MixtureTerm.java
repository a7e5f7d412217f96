package io.metalora.runtime.op;

import io.metalora.runtime.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * {@code y += scale * sum_j w_j B_ij A_i drop(x)} with {@code w = softmax(R_i x)}, for the tokens of slot i (HydraLoRA, Tian et
 * al. 2024). The B_ij of a part lie side by side, [rows, heads * rank]: column k of B_ij is column j * rank + k.
 */
public final class MixtureTerm extends LowRankTerm {
    final int heads;
    final Tensor weights;
    private final List<Long> routers;
    private final MemorySegment[] router;
    private final MemorySegment[] gradientRouter;

    /**
     * @param parts       as a {@link LoraTerm} has them
     * @param routers     where the router [heads, in] of each part begins in a slot's parameters, in floats
     * @param h           F32 [tokens, parts * rank], written forward and read backward
     * @param weights     F32 [tokens, parts * heads] likewise: w
     * @param slotOffsets I32 [slots + 1]
     */
    public MixtureTerm(
            int rank, int heads, float scale, List<Part> parts, List<Long> routers, Tensor h, Tensor weights,
            Tensor slotOffsets) {
        super(rank, scale, parts, h, slotOffsets);
        if (routers.size() != parts.size()) {
            throw new IllegalArgumentException(routers.size() + " routers for " + parts.size() + " parts");
        }
        this.heads = heads;
        this.weights = weights;
        this.routers = List.copyOf(routers);
        this.router = new MemorySegment[parts.size()];
        this.gradientRouter = new MemorySegment[parts.size()];
    }

    @Override
    public void bind(Tensor parameters, Tensor gradients, int slots, long stride) {
        if (parameters != this.parameters) {
            find(parameters, router);
        }
        if (gradients != this.gradients) {
            find(gradients, gradientRouter);
        }
        super.bind(parameters, gradients, slots, stride);
    }

    private void find(Tensor values, MemorySegment[] to) {
        for (int i = 0; i < to.length; i++) {
            to[i] = at(values, routers.get(i));
        }
    }

    /** F32 [tokens, parts * heads]: w of every part, as the last forward wrote it. */
    public Tensor weights() {
        return weights;
    }

    /** How many Linears it adapts. */
    public int size() {
        return parts.size();
    }

    long offsetRouter(int part) {
        return routers.get(part);
    }

    MemorySegment router(int part) {
        return router[part];
    }

    MemorySegment gradientRouter(int part) {
        return fixesRouter() ? MemorySegment.NULL : gradientRouter[part];
    }
}
