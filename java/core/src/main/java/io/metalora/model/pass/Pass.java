package io.metalora.model.pass;

import io.metalora.adapter.AdapterPart;
import io.metalora.model.AdapterSlots;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;

/**
 * Forward, and forward with backward, of packs up to a limit. A pass for training keeps, for every layer from the first adapted
 * one on, what the backward needs; one for evaluation holds the activations of a single layer. {@link PassAccess} makes them.
 */
public interface Pass extends AutoCloseable {

    /**
     * The log-probability and the most probable token of every loss row.
     *
     * @param adapters null for the base model; else at least as many slots as the pack's
     */
    void forward(TokenPack tokens, AdapterSlots adapters);

    /** As {@link #forward}, without waiting for the device: what it computes stays there, for {@link #copyLogprob}. */
    void runForward(TokenPack tokens, AdapterSlots adapters);

    /**
     * Computes the log-probability of every loss row, and adds to {@code adapters.gradients()} the gradients of {@code sum_rows
     * rowScale * -logprob}, without waiting for the device. Where the device records graphs and there is no dropout, the pack is
     * filled up to one of few shapes, and the ops of a shape that comes again are replayed.
     *
     * @param part          of which the gradients are added; those of the rest stay as they are, and cost nothing
     * @param dropoutStream distinguishes the packs of one seed
     */
    void runForwardBackward(TokenPack tokens, AdapterSlots adapters, AdapterPart part, long dropoutSeed, long dropoutStream);

    /**
     * Reserves scratch memory for what {@code work} calls: ops, {@link #planForwardBackward} and {@link #planForward}, which
     * stand for a pass over any pack within the limits. Nothing runs, and afterwards none of these ops allocates device memory.
     * The driver needs memory of its own to keep recorded passes; if none is left for that, passes run op by op.
     *
     * @param adapters with as many slots as packs will have
     * @return bytes that the largest op needs; 0 on the CPU, whose ops take host memory as they run
     * @throws InputException if the device has too little memory left
     */
    long plan(AdapterSlots adapters, Runnable work);

    /** Whether {@link #plan} is running. */
    boolean isPlanning();

    /** The ops of {@link #runForwardBackward}. */
    void planForwardBackward(AdapterPart part);

    /** The ops of {@link #runForward}. */
    void planForward();

    /** Copies the log-probabilities of the last pass, on the device, to {@code to} from element {@code at} on. */
    void copyLogprob(Tensor to, long at);

    /** Natural-log probability of each loss row's target in the last pack; [lossRows], longer than what is in use. */
    float[] logprob();

    /** The most probable token at each loss row of the last {@link #forward}, the lowest id on ties. */
    int[] argmax();

    /**
     * Adds to {@code sums}, of each head of a mixture, its weight summed over tokens of the last {@link #forward} and averaged
     * over the adapted Linears. The pass must be one for training, which keeps the weights of every Linear.
     *
     * @param rowOf for each of its tokens, to which row of {@code sums}
     * @param sums  [rows, heads]
     */
    void addHeadWeights(int[] rowOf, double[][] sums);

    /** Passes so far that were replayed from a recording. */
    long replayed();

    @Override
    void close();
}
