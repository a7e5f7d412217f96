package io.metalora.runtime.op;

import io.metalora.bindings.generated.Metalora;
import io.metalora.runtime.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * The low-rank term of one adapted Linear, for the tokens of each slot with that slot's matrices; or those of several Linears of
 * one input that are held as one weight, each of which adapts its rows of it. Made once for a Linear and bound to the slots in
 * use; the ops only read it.
 */
public abstract sealed class LowRankTerm permits LoraTerm, MixtureTerm {
    /**
     * An adapted Linear.
     *
     * @param offsetA where A [rank, in] begins in a slot's parameters, in floats
     * @param offsetB where B begins, [rows, rank] or, of a mixture, [rows, heads * rank]
     * @param first   of the weight's rows that it adapts
     * @param rows    how many
     * @param stream  of its dropout, another one for each Linear; {@link #dropout} adds to it
     */
    public record Part(long offsetA, long offsetB, long first, long rows, long stream) {}

    final int rank;
    final float scale;
    final List<Part> parts;
    final Tensor h;
    final Tensor slotOffsets;
    Tensor parameters;
    Tensor gradients;
    private final MemorySegment[] a;
    private final MemorySegment[] b;
    private final MemorySegment[] gradientA;
    private final MemorySegment[] gradientB;
    private boolean fixesA;
    private boolean fixesRouter;
    int slots;
    long stride;
    float dropout;
    long seed;
    long stream;

    LowRankTerm(int rank, float scale, List<Part> parts, Tensor h, Tensor slotOffsets) {
        this.rank = rank;
        this.scale = scale;
        this.parts = checked(parts);
        this.a = new MemorySegment[parts.size()];
        this.b = new MemorySegment[parts.size()];
        this.gradientA = new MemorySegment[parts.size()];
        this.gradientB = new MemorySegment[parts.size()];
        this.h = h;
        this.slotOffsets = slotOffsets;
    }

    private static List<Part> checked(List<Part> parts) {
        if (parts.isEmpty() || parts.size() > Metalora.ML_LORA_TERMS()) {
            throw new IllegalArgumentException(
                    "a term of " + parts.size() + " parts; it takes 1 to " + Metalora.ML_LORA_TERMS() + " Linears of one weight");
        }
        for (int i = 1; i < parts.size(); i++) {
            var before = parts.get(i - 1);
            if (parts.get(i).first() < before.first() + before.rows()) {
                throw new IllegalArgumentException("part " + i + " of the term begins at row " + parts.get(i).first()
                        + ", before the end of the one before it at " + (before.first() + before.rows())
                        + "; give the parts in the order of their rows");
            }
        }
        return List.copyOf(parts);
    }

    /** @param gradients of the layout of parameters [slots, stride]; null when only forward is called */
    public void bind(Tensor parameters, Tensor gradients, int slots, long stride) {
        if (parameters != this.parameters) {
            this.parameters = parameters;
            find(parameters, a, b);
        }
        if (gradients != this.gradients) {
            this.gradients = gradients;
            find(gradients, gradientA, gradientB);
        }
        this.slots = slots;
        this.stride = stride;
    }

    /** Whether A, and of a mixture the router, have no gradient in backwards from here on. */
    public void fix(boolean a, boolean router) {
        fixesA = a;
        fixesRouter = router;
    }

    /** Inverted dropout of x; a part's mask is a function of (seed, stream + its own, token, column). */
    public void dropout(float probability, long seed, long stream) {
        this.dropout = probability;
        this.seed = seed;
        this.stream = stream;
    }

    MemorySegment a(int part) {
        return a[part];
    }

    MemorySegment b(int part) {
        return b[part];
    }

    MemorySegment gradientA(int part) {
        return fixesA ? MemorySegment.NULL : gradientA[part];
    }

    boolean fixesRouter() {
        return fixesRouter;
    }

    MemorySegment gradientB(int part) {
        return gradientB[part];
    }

    /** Where the parts' matrices begin; the ops check that what they use lies inside the tensor. */
    private void find(Tensor values, MemorySegment[] ofA, MemorySegment[] ofB) {
        for (int i = 0; i < parts.size(); i++) {
            ofA[i] = at(values, parts.get(i).offsetA());
            ofB[i] = at(values, parts.get(i).offsetB());
        }
    }

    static MemorySegment at(Tensor tensor, long offset) {
        return tensor == null
                ? null
                : MemorySegment.ofAddress(DeviceAccess.get().pointer(tensor).address() + offset * tensor.dtype().bytes());
    }
}
