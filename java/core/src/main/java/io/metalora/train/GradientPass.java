package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.Pass;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/**
 * Loss and gradient of a batch at the adapter slots it is laid out for: the batch's packs go through the model one after the
 * other, their gradients add up. Losses are available after {@link #await}; until then the host does not wait for the device.
 */
final class GradientPass implements AutoCloseable {

    private final CausalLM model;
    private final Pass pass;
    private final PackBuilder packs;
    private final BooleanSupplier stop;
    private final LossLedger losses;
    private long tokens;

    /**
     * @param limits of one pack; buffers of this size are held
     * @param losses of these passes
     * @param stop   asked before every pack; true abandons the batch with a {@link CancellationException}
     */
    GradientPass(CausalLM model, AdapterLayout layout, PassLimits limits, LossLedger losses, BooleanSupplier stop) {
        this(model, layout, new PackBuilder(limits), losses, stop);
    }

    /** As above, for batches that {@code packs} lays out. */
    GradientPass(CausalLM model, AdapterLayout layout, PackBuilder packs, LossLedger losses, BooleanSupplier stop) {
        this.model = model;
        this.pass = PassAccess.get().training(model, packs.limits(), layout);
        this.packs = packs;
        this.stop = stop;
        this.losses = losses;
    }

    /**
     * Reserves scratch memory for what {@code work} queues: nothing runs, and whatever the batches are, each pass counts as the
     * largest possible.
     *
     * @return bytes that the largest op needs; see {@link Pass#plan}
     */
    long plan(AdapterSlots slots, Runnable work) {
        return pass.plan(slots, work);
    }

    /** Passes that were replayed; see {@link Pass#replayed}. */
    long replayed() {
        return pass.replayed();
    }

    /**
     * Adds the gradient of each slot's loss, its share of the batch's where they have one together, to {@code slots.gradients()}.
     *
     * @param part of which it is the gradient; that of the rest stays as it is
     * @param loss [slots], written by {@link #await}: each slot's loss; 0 for a slot without examples
     */
    void backward(List<List<EncodedExample>> batch, AdapterSlots slots, AdapterPart part, long dropoutSeed, double[] loss) {
        if (pass.isPlanning()) {
            pass.planForwardBackward(part);
            return;
        }
        Arrays.fill(loss, 0);
        int stream = 0;
        for (TokenPack pack : packs.build(batch)) {
            checkStop();
            pass.runForwardBackward(pack, slots, part, dropoutSeed, stream++);
            losses.record(pack, pass, loss);
            tokens += pack.tokens() + pack.sequences(); // the last token of a sequence is only a target
        }
    }

    /** The losses alone, without dropout; they too are written by {@link #await}. */
    void forward(List<List<EncodedExample>> batch, AdapterSlots slots, double[] loss) {
        if (pass.isPlanning()) {
            pass.planForward();
            return;
        }
        Arrays.fill(loss, 0);
        for (TokenPack pack : packs.build(batch)) {
            checkStop();
            pass.runForward(pack, slots);
            losses.record(pack, pass, loss);
            tokens += pack.tokens() + pack.sequences(); // the last token of a sequence is only a target
        }
    }

    /** Waits for the passes since the last call and writes their losses. */
    void await() {
        losses.await();
    }

    /**
     * Runs an iteration, or an adaptation, on these passes. If it ends with an exception, no losses and no tokens are left for
     * the next.
     *
     * @throws InputException where it diverged because of the model's own weights
     */
    <T> T whole(Supplier<T> iteration) {
        try {
            return iteration.get();
        } catch (RuntimeException | Error e) {
            losses.clear();
            tokens = 0;
            if (e instanceof TrainingDivergedException) {
                model.requireFiniteWeights();
            }
            throw e;
        }
    }

    /**
     * Checks losses from before anything was learned, which no learning rate can have spoiled.
     *
     * @throws InputException if one is not finite
     */
    void requireFiniteBeginning(double[] losses) {
        if (!Arrays.stream(losses).allMatch(Double::isFinite)) {
            throw model.notFiniteUntrained();
        }
    }

    private void checkStop() {
        if (stop.getAsBoolean()) {
            throw new CancellationException("stopped on request");
        }
    }

    /** Tokens of the examples that went through since the last call. */
    long takeTokens() {
        long taken = tokens;
        tokens = 0;
        return taken;
    }

    @Override
    public void close() {
        pass.close();
    }
}
