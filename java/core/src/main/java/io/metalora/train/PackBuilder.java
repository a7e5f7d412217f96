package io.metalora.train;

import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.InputException;
import io.metalora.task.EncodedExample;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * Lays the examples of several adapter slots out as packs: sequences one after the other without padding, those of a slot
 * together, slots ascending. A batch over the token limit becomes several packs, micro-batches whose gradients add up to the
 * batch's: {@code rowScale} is 1 / (loss tokens of the slot in the whole batch), so every slot's loss is the mean over its
 * completion tokens (and the end token where it was encoded; of a conversation over all assistant turns), however the batch was split; or, where the slots have one loss
 * together, 1 / (loss tokens of all of them).
 *
 * <p>The packs are the builder's own and are overwritten by the next {@link #build}.
 */
final class PackBuilder {

    /**
     * Maximum tokens of a pass where no budget is set. On the CPU larger passes are hardly faster (SmolLM2-135M: 4 % from
     * 256 to 1024 tokens), and every token's activations take memory.
     */
    private static final int DEFAULT_BUDGET = 512;

    /** Over which tokens a loss is a mean. */
    enum LossMean {
        /** Those of a slot: each has a loss of its own. */
        OF_SLOT,
        /** Those of the batch: the slots' losses add up to its. */
        OF_BATCH
    }

    private final PassLimits limits;
    private final LossMean mean;
    private final List<TokenPack> packs = new ArrayList<>();
    private int[] ids = new int[0]; // of the example at hand
    private int[] targets = new int[0]; // likewise

    /** As below, with a loss of each slot. */
    PackBuilder(PassLimits limits) {
        this(limits, LossMean.OF_SLOT);
    }

    /** @param limits no pack will be larger */
    PackBuilder(PassLimits limits, LossMean mean) {
        this.limits = limits;
        this.mean = mean;
    }

    /** Of every pack. */
    PassLimits limits() {
        return limits;
    }

    /**
     * Limits within which any batch of this shape can be packed: no more than {@code tokenBudget} tokens, and no more
     * than the batch can need.
     *
     * @param slots   adapter slots
     * @param perSlot most examples of a slot
     * @param longest tokens of the longest example
     * @param tokenBudget 0: 512, or the longest example's tokens where they are more
     * @throws InputException if the longest example is over the budget, or the batch is more than any pass takes
     */
    static PassLimits limits(int slots, int perSlot, int longest, int tokenBudget) {
        if (tokenBudget == 0) {
            return limits(slots, perSlot, longest, Math.max(DEFAULT_BUDGET, longest));
        }
        if (longest > tokenBudget) {
            throw new InputException("the longest example has " + longest + " tokens, more than the token budget of "
                    + tokenBudget + "; raise compute.token_budget or shorten the example");
        }
        long sequences = (long) slots * perSlot;
        int tokens = sequences > tokenBudget / longest ? tokenBudget : (int) sequences * longest;
        return new PassLimits(tokens, (int) Math.min(tokens, sequences), tokens, slots);
    }

    /**
     * The packs of a batch.
     *
     * @param slots the examples of each slot; a slot may have none
     * @return one pack or more; none only if no slot has an example
     */
    List<TokenPack> build(List<List<EncodedExample>> slots) {
        int used = 0;
        TokenPack pack = null;
        long ofBatch = 0;
        for (List<EncodedExample> examples : slots) {
            ofBatch += lossTokens(examples);
        }
        for (int slot = 0; slot < slots.size(); slot++) {
            float rowScale = 1f / (mean == LossMean.OF_BATCH ? ofBatch : lossTokens(slots.get(slot)));
            for (EncodedExample example : slots.get(slot)) {
                if (pack == null || !pack.fitsTargets(example.length(), example.lossTokens())) {
                    if (used == packs.size()) {
                        packs.add(new TokenPack(limits));
                    }
                    pack = packs.get(used++);
                    pack.clear(slots.size());
                }
                if (ids.length < example.length()) {
                    ids = new int[example.length()];
                    targets = new int[example.length()];
                }
                example.copyIds(ids);
                example.copyTargets(targets);
                pack.add(slot, ids, example.length(), targets, example.lossTokens(), rowScale);
            }
        }
        return Collections.unmodifiableList(packs.subList(0, used));
    }

    private static long lossTokens(List<EncodedExample> examples) {
        long tokens = 0;
        for (EncodedExample example : examples) {
            tokens += example.lossTokens();
        }
        return tokens;
    }
}
