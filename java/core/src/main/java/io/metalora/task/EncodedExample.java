package io.metalora.task;

import io.metalora.runtime.InputException;

/**
 * An example as token ids: the prompt's, then the completion's. The array is not to be changed.
 *
 * @param ids          prompt and completion, one after the other
 * @param promptLength how many of the ids are the prompt's; at least 1, since the first token of a sequence has nothing
 *                     before it to be predicted from
 */
public record EncodedExample(int[] ids, int promptLength) {

    public EncodedExample {
        if (promptLength < 1 || promptLength >= ids.length) {
            throw new InputException("an encoded example needs at least one token of prompt and one of completion, but has "
                    + promptLength + " and " + (ids.length - promptLength));
        }
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
