package io.metalora.runtime;

import java.lang.foreign.MemorySegment;

/**
 * The low-rank term of one adapted Linear: {@code y += scale * B_i A_i drop(x)} for the tokens of slot i. Made once
 * for a Linear and bound to the slots in use; the ops only read it.
 */
public final class LoraTerm {
    final int rank;
    final float scale;
    final long offsetA;
    final long offsetB;
    final Tensor h;
    final Tensor slotOffsets;
    Tensor parameters;
    Tensor gradients;
    private MemorySegment a;
    private MemorySegment b;
    private MemorySegment gradientA;
    private MemorySegment gradientB;
    int slots;
    long stride;
    float dropout;
    long seed;
    long stream;

    /**
     * @param offsetA     where A [rank, in] begins in a slot's parameters, in floats
     * @param offsetB     where B [out, rank] begins
     * @param h           F32 [tokens, rank], written forward and read backward
     * @param slotOffsets I32 [slots + 1]
     */
    public LoraTerm(int rank, float scale, long offsetA, long offsetB, Tensor h, Tensor slotOffsets) {
        this.rank = rank;
        this.scale = scale;
        this.offsetA = offsetA;
        this.offsetB = offsetB;
        this.h = h;
        this.slotOffsets = slotOffsets;
    }

    /** @param gradients of the layout of parameters [slots, stride]; null when only forward is called */
    public void bind(Tensor parameters, Tensor gradients, int slots, long stride) {
        if (parameters != this.parameters) {
            this.parameters = parameters;
            this.a = at(parameters, offsetA);
            this.b = at(parameters, offsetB);
        }
        if (gradients != this.gradients) {
            this.gradients = gradients;
            this.gradientA = at(gradients, offsetA);
            this.gradientB = at(gradients, offsetB);
        }
        this.slots = slots;
        this.stride = stride;
    }

    /** Inverted dropout of x; its mask is a function of (seed, stream, token, column). */
    public void dropout(float probability, long seed, long stream) {
        this.dropout = probability;
        this.seed = seed;
        this.stream = stream;
    }

    MemorySegment a() {
        return a;
    }

    MemorySegment b() {
        return b;
    }

    MemorySegment gradientA() {
        return gradientA;
    }

    MemorySegment gradientB() {
        return gradientB;
    }

    /** The address of element {@code offset}; the ops check that what they use lies inside the tensor. */
    private static MemorySegment at(Tensor tensor, long offset) {
        return tensor == null
                ? null
                : MemorySegment.ofAddress(tensor.pointer().address() + offset * tensor.dtype().bytes());
    }
}
