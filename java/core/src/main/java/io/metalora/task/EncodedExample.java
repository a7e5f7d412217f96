package io.metalora.task;

import io.metalora.runtime.InputException;
import java.util.Arrays;

/** An example as token ids: the prompt's, then the completion's. */
public final class EncodedExample {

    private final int[] ids;
    private final int promptLength;

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

    /** How many of the ids are the prompt's. */
    public int promptLength() {
        return promptLength;
    }

    /** Tokens of the sequence. */
    public int length() {
        return ids.length;
    }

    /** Tokens that carry loss: those of the completion. */
    public int lossTokens() {
        return ids.length - promptLength;
    }
}
