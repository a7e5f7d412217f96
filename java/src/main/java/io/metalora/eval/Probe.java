package io.metalora.eval;

import java.util.Arrays;

/**
 * A sequence, and what is asked about it: how probable {@code targets[i]} is after the tokens up to and with
 * {@code ids[rows[i]]}. A row may be asked about more than once: alternatives after one prompt cost one sequence.
 */
record Probe(int[] ids, int[] rows, int[] targets) {

    /** Asks for the tokens of {@code continuation} from {@code known} on, one after the other. */
    static Probe continuing(int[] prompt, int[] continuation, int known) {
        int asked = continuation.length - known;
        // The last token is only asked for, nothing comes after it.
        int[] ids = Arrays.copyOf(prompt, prompt.length + continuation.length - 1);
        System.arraycopy(continuation, 0, ids, prompt.length, continuation.length - 1);
        int[] rows = new int[asked];
        int[] targets = new int[asked];
        for (int i = 0; i < asked; i++) {
            rows[i] = prompt.length + known + i - 1;
            targets[i] = continuation[known + i];
        }
        return new Probe(ids, rows, targets);
    }

    /** What the model says to each row: the target's log-probability, and the most probable token there. */
    record Answer(float[] logprob, int[] argmax) {
        double sum() {
            double sum = 0;
            for (float value : logprob) {
                sum += value;
            }
            return sum;
        }
    }
}
