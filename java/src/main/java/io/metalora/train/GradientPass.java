package io.metalora.train;

import io.metalora.adapter.LoraLayout;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.ModelPass;
import io.metalora.model.PassLimits;
import io.metalora.model.TokenPack;
import io.metalora.task.EncodedExample;
import io.metalora.task.PackBuilder;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/**
 * Loss and gradient of a batch at the adapter slots it is laid out for: the batch's packs go through the model one after
 * the other, their gradients add up.
 */
final class GradientPass implements AutoCloseable {

    private final ModelPass pass;
    private final PackBuilder packs;
    private final BooleanSupplier stop;
    private long tokens;

    /**
     * @param limits of one pack; buffers of this size are held
     * @param stop   asked before every pack; true abandons the batch with a {@link CancellationException}
     */
    GradientPass(CausalLM model, LoraLayout layout, PassLimits limits, BooleanSupplier stop) {
        this.pass = new ModelPass(model, limits, layout, true);
        this.packs = new PackBuilder(limits);
        this.stop = stop;
    }

    /**
     * Adds the gradient of each slot's mean loss to {@code slots.gradients()}.
     *
     * @param loss [slots], written: each slot's mean loss over its loss tokens; 0 for a slot without examples
     */
    void backward(List<List<EncodedExample>> batch, AdapterSlots slots, long dropoutSeed, double[] loss) {
        java.util.Arrays.fill(loss, 0);
        int stream = 0;
        for (TokenPack pack : packs.build(batch)) {
            checkStop();
            pass.forwardBackward(pack, slots, dropoutSeed, stream++);
            PackBuilder.addLoss(pack, pass.logprob(), loss);
            tokens += pack.tokens() + pack.sequences(); // the last token of a sequence is only a target
        }
    }

    /** The losses alone, without dropout. */
    void forward(List<List<EncodedExample>> batch, AdapterSlots slots, double[] loss) {
        java.util.Arrays.fill(loss, 0);
        for (TokenPack pack : packs.build(batch)) {
            checkStop();
            pass.forward(pack, slots);
            PackBuilder.addLoss(pack, pass.logprob(), loss);
            tokens += pack.tokens() + pack.sequences(); // the last token of a sequence is only a target
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
