package io.metalora.train;

import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.Pass;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.Tensor;
import java.util.Arrays;

/**
 * Losses of passes that may still be running: what makes them up stays on the device until {@link #await}, so that the
 * host does not wait for each pass.
 */
final class LossLedger {

    /** The passes whose losses are kept before the host waits for them: as many as an iteration usually has. */
    private static final int PASSES = 16;

    private final Tensor onDevice; // log-probabilities
    private final float[] logprob;
    private final float[] scale;
    private final int[] slot;
    private final double[][] loss;
    private int used;

    /** @param limits of the passes */
    LossLedger(BufferPlan plan, PassLimits limits) {
        int rows = (int) Math.min((long) PASSES * limits.lossRows(), PassLimits.MOST);
        this.logprob = new float[rows];
        this.scale = new float[rows];
        this.slot = new int[rows];
        this.loss = new double[rows][];
        this.onDevice = plan.floats(rows);
    }

    /**
     * Notes the loss rows of the last pass, which was of this pack.
     *
     * @param loss [slots], to which {@link #await} adds each slot's share of its mean loss
     */
    void record(TokenPack pack, Pass pass, double[] loss) {
        if (used + pack.lossRows() > logprob.length) {
            await();
        }
        pass.copyLogprob(onDevice, used);
        int at = 0;
        for (int row = 0; row < pack.lossRows(); row++, used++) {
            while (pack.rows()[row] >= pack.slotOffsets()[at + 1]) {
                at++;
            }
            this.slot[used] = at;
            this.scale[used] = pack.rowScale()[row];
            this.loss[used] = loss;
        }
    }

    /** Waits for the passes and adds up their losses, in the order of the rows. */
    void await() {
        onDevice.download(logprob, used);
        for (int i = 0; i < used; i++) {
            loss[i][slot[i]] -= (double) scale[i] * logprob[i];
            loss[i] = null;
        }
        used = 0;
    }

    /** Forgets the passes since the last call of {@link #await}. */
    void clear() {
        Arrays.fill(loss, 0, used, null);
        used = 0;
    }
}
