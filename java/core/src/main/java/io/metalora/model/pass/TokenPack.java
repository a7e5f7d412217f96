package io.metalora.model.pass;

import io.metalora.runtime.InputException;
import java.util.Arrays;

/**
 * Sequences of unequal length one after the other, without padding, and the rows among their tokens that carry loss.
 * Sequences of a slot are contiguous and slots ascend. Host memory, allocated once and filled again and again:
 * arrays are longer than what is in use, the counts say how much that is.
 */
public final class TokenPack {
    private final PassLimits limits;
    private final int[] ids;
    private final int[] positions;
    private final int[] seqOffsets;
    private final int[] slotOffsets;
    private final int[] rows;
    private final int[] targets;
    private final float[] rowScale;
    private final int[] rowSequence;
    private int tokens;
    private int sequences;
    private int slots;
    private int lossRows;
    private int maxLength;
    private int lastSlot;

    public TokenPack(PassLimits limits) {
        this.limits = limits;
        ids = new int[limits.tokens()];
        positions = new int[limits.tokens()];
        seqOffsets = new int[limits.sequences() + 1];
        slotOffsets = new int[limits.slots() + 1];
        rows = new int[limits.lossRows()];
        targets = new int[limits.lossRows()];
        rowScale = new float[limits.lossRows()];
        rowSequence = new int[limits.lossRows()];
        clear(1);
    }

    /** Empties the pack for {@code slots} adapter slots. */
    public void clear(int slots) {
        if (slots < 1 || slots > limits.slots()) {
            throw new IllegalArgumentException(slots + " slots in a pack made for 1 to " + limits.slots());
        }
        this.slots = slots;
        tokens = 0;
        sequences = 0;
        lossRows = 0;
        maxLength = 0;
        lastSlot = 0;
        Arrays.fill(slotOffsets, 0);
    }

    /** Whether {@link #add} of a sequence of {@code length} ids would stay within the limits. */
    public boolean fits(int length, int firstTarget) {
        return fitsTargets(length, length - firstTarget);
    }

    /** As above, with {@code count} targets. */
    public boolean fitsTargets(int length, int count) {
        return hasRoom(length - 1, count);
    }

    private boolean hasRoom(int moreTokens, int moreRows) {
        return moreTokens <= limits.tokens() - tokens
                && sequences < limits.sequences()
                && moreRows <= limits.lossRows() - lossRows;
    }

    /**
     * Appends a sequence whose tokens from {@code firstTarget} on are to be predicted: token t is a loss row of target
     * ids[t + 1]. The last token is only a target, so nothing is computed for it: the sequence takes ids.length - 1
     * tokens of the pack.
     *
     * @param slot        of the adapter; not below the slot of the sequence before
     * @param ids         at least two
     * @param firstTarget in [1, ids.length)
     * @param scale       d loss / d (-logprob) of each row
     */
    public void add(int slot, int[] ids, int firstTarget, float scale) {
        add(slot, ids, ids.length, firstTarget, scale);
    }

    /** As above, of the first {@code length} ids. */
    public void add(int slot, int[] ids, int length, int firstTarget, float scale) {
        if (length < 2 || firstTarget < 1 || firstTarget >= length) {
            throw new IllegalArgumentException(
                    "a sequence of " + length + " tokens with its first target at " + firstTarget);
        }
        int start = append(slot, ids, length - 1, length - firstTarget);
        for (int t = firstTarget; t < length; t++) {
            row(start + t - 1, ids[t], scale);
        }
    }

    /**
     * Appends a sequence of which some tokens are to be predicted: token t - 1 is a loss row of target ids[t] for each t of
     * {@code targets}. Like those above it takes length - 1 tokens of the pack.
     *
     * @param targets positions in [1, length), ascending; the first {@code count} are used
     */
    public void add(int slot, int[] ids, int length, int[] targets, int count, float scale) {
        if (length < 2 || count < 1 || targets[0] < 1 || targets[count - 1] >= length) {
            throw new IllegalArgumentException("a sequence of " + length + " tokens with " + count + " targets");
        }
        int start = append(slot, ids, length - 1, count);
        for (int i = 0; i < count; i++) {
            row(start + targets[i] - 1, ids[targets[i]], scale);
        }
    }

    /**
     * Appends a sequence whose last token is a loss row of each of {@code next}: what may follow a prompt, for the price
     * of one sequence. All its tokens go into the pack. Only for {@link Pass#forward}.
     *
     * @param slot of the adapter; not below the slot of the sequence before
     * @param ids  at least one
     * @param next at least one
     */
    public void addAlternatives(int slot, int[] ids, int[] next) {
        if (ids.length == 0 || next.length == 0) {
            throw new IllegalArgumentException(next.length + " alternatives after " + ids.length + " tokens");
        }
        int start = append(slot, ids, ids.length, next.length);
        for (int target : next) {
            row(start + ids.length - 1, target, 0);
        }
    }

    /** Appends the first {@code length} tokens as a sequence, where there is room for its rows too; returns its start. */
    private int append(int slot, int[] ids, int length, int moreRows) {
        if (slot < lastSlot || slot >= slots) {
            throw new IllegalArgumentException(
                    "slot " + slot + " after slot " + lastSlot + " in a pack of " + slots + " slots");
        }
        if (!hasRoom(length, moreRows)) {
            throw new InputException("a sequence of " + length + " tokens does not fit into a pack that has "
                    + tokens + " of " + limits.tokens() + " tokens, " + sequences + " of " + limits.sequences()
                    + " sequences and " + lossRows + " of " + limits.lossRows() + " loss rows; raise the token budget");
        }
        int start = tokens;
        System.arraycopy(ids, 0, this.ids, start, length);
        for (int i = 0; i < length; i++) {
            positions[start + i] = i;
        }
        tokens += length;
        sequences++;
        seqOffsets[sequences] = tokens;
        maxLength = Math.max(maxLength, length);
        lastSlot = slot;
        Arrays.fill(slotOffsets, slot + 1, slots + 1, tokens);
        return start;
    }

    /** A loss row of the newest sequence. */
    private void row(int token, int target, float scale) {
        rows[lossRows] = token;
        targets[lossRows] = target;
        rowScale[lossRows] = scale;
        rowSequence[lossRows] = sequences - 1;
        lossRows++;
    }

    /**
     * Becomes {@code pack}, filled up to {@code shape} with what changes no result: tokens in sequences of their own at the end
     * of the last slot, loss rows of scale 0, and sequences without tokens. Added rows are the last tokens that have none: behind
     * the pack's own rows where the added tokens suffice, between them otherwise. Added tokens repeat the pack's: what others
     * might compute, such as a NaN, is not 0 when multiplied by 0.
     *
     * @param own written: whether a row is the pack's own; [lossRows] are in use
     */
    public void fillUp(TokenPack pack, PackShape shape, boolean[] own) {
        clear(shape.slots());
        System.arraycopy(pack.ids, 0, ids, 0, pack.tokens);
        System.arraycopy(pack.positions, 0, positions, 0, pack.tokens);
        System.arraycopy(pack.seqOffsets, 0, seqOffsets, 0, pack.sequences + 1);
        System.arraycopy(pack.slotOffsets, 0, slotOffsets, 0, pack.slots + 1);
        sequences = pack.sequences;
        for (tokens = pack.tokens; tokens < shape.tokens(); seqOffsets[++sequences] = tokens) {
            int end = Math.min(shape.tokens(), tokens + shape.maxLength());
            for (int position = 0; tokens < end; tokens++) {
                ids[tokens] = pack.ids[position % pack.tokens];
                positions[tokens] = position++;
            }
        }
        while (sequences < shape.sequences()) {
            seqOffsets[++sequences] = tokens;
        }
        slotOffsets[slots] = tokens;
        maxLength = shape.maxLength();
        lossRows = shape.lossRows();
        int from = pack.lossRows - 1;
        for (int row = lossRows - 1, token = tokens - 1; row >= 0; row--, token--) {
            own[row] = from == row || (from >= 0 && pack.rows[from] >= token);
            rows[row] = own[row] ? pack.rows[from] : token;
            targets[row] = own[row] ? pack.targets[from] : 0;
            rowScale[row] = own[row] ? pack.rowScale[from] : 0;
            rowSequence[row] = own[row] ? pack.rowSequence[from] : 0;
            if (own[row]) {
                token = Math.min(token, pack.rows[from--]);
            }
        }
    }

    public int tokens() {
        return tokens;
    }

    public int sequences() {
        return sequences;
    }

    public int slots() {
        return slots;
    }

    public int lossRows() {
        return lossRows;
    }

    /** Tokens of the longest sequence. */
    public int maxLength() {
        return maxLength;
    }

    /** [tokens] */
    public int[] ids() {
        return ids;
    }

    /** [tokens], from 0 in every sequence */
    public int[] positions() {
        return positions;
    }

    /** [sequences + 1] */
    public int[] seqOffsets() {
        return seqOffsets;
    }

    /** [slots + 1] */
    public int[] slotOffsets() {
        return slotOffsets;
    }

    /** [lossRows], token indices, ascending; those of alternatives repeat */
    public int[] rows() {
        return rows;
    }

    /** [lossRows], the token that follows each row */
    public int[] targets() {
        return targets;
    }

    /** [lossRows], d loss / d (-logprob); may be changed between passes */
    public float[] rowScale() {
        return rowScale;
    }

    /** [lossRows], the sequence a row belongs to */
    public int[] rowSequence() {
        return rowSequence;
    }
}
