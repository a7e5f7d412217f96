package io.metalora.model;

import io.metalora.io.ModelConfig;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.LossRows;
import io.metalora.runtime.op.Sequences;

/** A pack on the device. */
final class PackTensors {
    private final ModelConfig config;
    private final PassLimits limits;
    private final Tensor ids;
    private final Tensor positions;
    private final Tensor seqOffsets;
    private final Tensor slotOffsets;
    private final Tensor rows;
    private final Tensor targets;
    private final Tensor rowScale;
    private int tokens;
    private int lossRows;
    private Sequences sequences;
    private LossRows loss;

    PackTensors(BufferPlan plan, ModelConfig config, PassLimits limits) {
        this.config = config;
        this.limits = limits;
        ids = plan.ints(limits.tokens());
        positions = plan.ints(limits.tokens());
        seqOffsets = plan.ints(limits.sequences() + 1L);
        slotOffsets = plan.ints(limits.slots() + 1L);
        rows = plan.ints(limits.lossRows());
        targets = plan.ints(limits.lossRows());
        rowScale = plan.floats(limits.lossRows());
    }

    /** Checks a pack and copies it to the device. */
    void upload(TokenPack pack) {
        check(pack);
        copy(pack);
    }

    /** Checks a pack against the model and the limits. */
    void check(TokenPack pack) {
        requireWithin("tokens", pack.tokens(), limits.tokens());
        requireWithin("sequences", pack.sequences(), limits.sequences());
        requireWithin("loss rows", pack.lossRows(), limits.lossRows());
        requireWithin("slots", pack.slots(), limits.slots());
        if (pack.maxLength() > config.maxPositions()) {
            throw new InputException("a sequence of " + pack.maxLength() + " tokens is longer than the model's context"
                    + " of " + config.maxPositions() + "; shorten it");
        }
        requireTokens(pack.ids(), pack.tokens(), config.vocabSize());
        requireTokens(pack.targets(), pack.lossRows(), config.vocabSize());
    }

    /** For a pack that was checked, or was filled up from one. */
    void copy(TokenPack pack) {
        shape(pack.tokens(), pack.sequences(), pack.maxLength(), pack.lossRows());
        ids.upload(pack.ids(), tokens);
        positions.upload(pack.positions(), tokens);
        seqOffsets.upload(pack.seqOffsets(), pack.sequences() + 1);
        slotOffsets.upload(pack.slotOffsets(), pack.slots() + 1);
        rows.upload(pack.rows(), lossRows);
        targets.upload(pack.targets(), lossRows);
        rowScale.upload(pack.rowScale(), lossRows);
    }

    /** Takes the largest shape within the limits, whatever the tensors hold: for ops that are only planned. */
    void pretendFull() {
        shape(limits.tokens(), limits.sequences(), Math.min(limits.tokens(), config.maxPositions()), limits.lossRows());
    }

    private void shape(int tokens, int count, int longest, int lossRows) {
        this.tokens = tokens;
        this.lossRows = lossRows;
        this.sequences = new Sequences(seqOffsets, count, tokens, longest);
        this.loss = new LossRows(rows, targets, rowScale, lossRows);
    }

    private static void requireWithin(String what, int count, int limit) {
        if (count > limit) {
            throw new IllegalArgumentException(
                    "a pack of " + count + " " + what + " in a pass made for " + limit);
        }
    }

    static void requireTokens(int[] ids, int count, int vocabSize) {
        for (int i = 0; i < count; i++) {
            if (ids[i] < 0 || ids[i] >= vocabSize) {
                throw new InputException("token id " + ids[i] + " is outside the model's vocabulary of " + vocabSize
                        + "; the tokenizer belongs to another model");
            }
        }
    }

    int tokens() {
        return tokens;
    }

    Sequences sequences() {
        return sequences;
    }

    LossRows loss() {
        return loss;
    }

    int lossRows() {
        return lossRows;
    }

    Tensor ids() {
        return ids;
    }

    Tensor positions() {
        return positions;
    }

    Tensor slotOffsets() {
        return slotOffsets;
    }
}
