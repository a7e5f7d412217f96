package io.metalora.eval;

import io.metalora.model.pass.TokenPack;
import java.util.Arrays;

/** A sequence, and what is asked about it. Each question is a loss row of the pack that the probe goes into. */
sealed interface Probe {

    /** The adapter it is asked of. */
    int slot();

    /** Tokens that go through the model. */
    int tokens();

    /** Questions. */
    int rows();

    /** Appends this to a pack with room for it. */
    void addTo(TokenPack pack);

    /**
     * How probable are the tokens from {@code first} on, each after those before it? The last one is only asked for.
     *
     * @param ids   the sequence
     * @param first at least 1
     */
    record Continuation(int slot, int[] ids, int first) implements Probe {

        /** Asks for a continuation of a prompt, but for its first {@code known} tokens. */
        static Continuation of(int slot, int[] prompt, int[] continuation, int known) {
            int[] ids = Arrays.copyOf(prompt, prompt.length + continuation.length);
            System.arraycopy(continuation, 0, ids, prompt.length, continuation.length);
            return new Continuation(slot, ids, prompt.length + known);
        }

        @Override
        public int tokens() {
            return ids.length - 1;
        }

        @Override
        public int rows() {
            return ids.length - first;
        }

        @Override
        public void addTo(TokenPack pack) {
            pack.add(slot, ids, first, 1);
        }
    }

    /** How probable is each of {@code next} as the token after the prompt? They cost one sequence together. */
    record Alternatives(int slot, int[] prompt, int[] next) implements Probe {

        @Override
        public int tokens() {
            return prompt.length;
        }

        @Override
        public int rows() {
            return next.length;
        }

        @Override
        public void addTo(TokenPack pack) {
            pack.addAlternatives(slot, prompt, next);
        }
    }

    /** What the model says to each question: the token's log-probability, and the most probable token in its place. */
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
