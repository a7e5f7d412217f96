package io.metalora.task;

import io.metalora.runtime.InputException;
import java.util.Arrays;

/**
 * An example as token ids, and which of them carry loss: those of the completion; in a conversation those of every
 * assistant turn.
 */
public final class EncodedExample {

    private final int[] ids;
    private final int promptLength;
    /** Positions of the tokens that carry loss, ascending; null where they are all from promptLength on. */
    private final int[] targets;

    /**
     * @param ids          prompt and completion, one after the other; copied
     * @param promptLength how many of the ids are the prompt's; at least 1, since the first token of a sequence has nothing
     *                     before it to be predicted from
     */
    public EncodedExample(int[] ids, int promptLength) {
        if (promptLength < 1 || promptLength >= ids.length) {
            throw new InputException("an encoded example needs at least one token of prompt and one of completion, but has "
                    + promptLength + " and " + (ids.length - promptLength));
        }
        this.ids = ids.clone();
        this.promptLength = promptLength;
        this.targets = null;
    }

    /**
     * With loss on several stretches of the sequence.
     *
     * @param ids     copied
     * @param trained for each id whether it carries loss; the first token's is ignored, since nothing is before it
     * @throws InputException if none does
     */
    public EncodedExample(int[] ids, boolean[] trained) {
        if (trained.length != ids.length) {
            throw new IllegalArgumentException(ids.length + " ids but a mask of " + trained.length);
        }
        int count = 0;
        var positions = new int[ids.length];
        for (int i = 1; i < ids.length; i++) {
            if (trained[i]) {
                positions[count++] = i;
            }
        }
        if (count == 0) {
            throw new InputException("none of the " + ids.length + " tokens of an encoded example carries loss");
        }
        this.ids = ids.clone();
        this.promptLength = positions[0];
        this.targets = count == ids.length - promptLength ? null : Arrays.copyOf(positions, count);
    }

    /** A copy of the ids. */
    public int[] ids() {
        return ids.clone();
    }

    /** A copy of the prompt's ids. */
    public int[] prompt() {
        return Arrays.copyOf(ids, promptLength);
    }

    /** Copies the ids to the first elements of {@code to}. */
    public void copyIds(int[] to) {
        System.arraycopy(ids, 0, to, 0, ids.length);
    }

    /** How many ids are before the first that carries loss: the prompt's. */
    public int promptLength() {
        return promptLength;
    }

    /** Tokens of the sequence. */
    public int length() {
        return ids.length;
    }

    /** Tokens that carry loss. */
    public int lossTokens() {
        return targets == null ? ids.length - promptLength : targets.length;
    }

    /** Whether every token after the prompt carries loss. */
    public boolean isPromptAndCompletion() {
        return targets == null;
    }

    /** Whether the token at {@code position}, from 0, carries loss. */
    public boolean isTrained(int position) {
        return targets == null ? position >= promptLength : Arrays.binarySearch(targets, position) >= 0;
    }

    /** Copies the positions of the tokens that carry loss, ascending, to the first {@link #lossTokens} elements of {@code to}. */
    public void copyTargets(int[] to) {
        if (targets != null) {
            System.arraycopy(targets, 0, to, 0, targets.length);
            return;
        }
        for (int i = promptLength; i < ids.length; i++) {
            to[i - promptLength] = i;
        }
    }
}
