package io.metalora.task;

import java.util.List;

/** Where the episodes of an iteration come from. Iteration i has the same ones whether or not those before it ran in this process. */
public interface EpisodeSource {

    /** One episode a slot. */
    List<Episode> draw(long iteration);

    /**
     * Receives what an iteration measured.
     *
     * @param queryLoss of each of the episodes that were drawn last
     * @param cosines   [n, n], row-major, of their query gradients
     */
    void observe(double[] queryLoss, double[] cosines);

    /** What the next draws depend on beside the iteration's number; checkpoints carry it. */
    float[] state();

    /** Continues from a state. */
    void restore(float[] state);
}
