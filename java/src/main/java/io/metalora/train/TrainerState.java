package io.metalora.train;

/**
 * The whole state of training between two iterations: since every draw is a function of the iteration, there is no other.
 *
 * @param step       steps taken
 * @param parameters of the shared adapter, [P]
 * @param m          AdamW's first moments, [P]
 * @param v          its second moments, [P]
 */
public record TrainerState(long step, float[] parameters, float[] m, float[] v) {
}
