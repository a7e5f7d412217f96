package io.metalora.train;

import io.metalora.config.TrainConfig;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AdamW;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;

/**
 * Clip and AdamW with a schedule on the shared adapter theta; and, where it is asked for, the average of its values after each
 * step, in which that after step i of t weighs in proportion to d^(t - i): average += (1 - d) / (1 - d^t) (theta - average).
 */
final class SharedOptimizer {

    private final Ops ops;
    private final Tensor parameters;
    private final long count;
    private final SlotVectors vector; // the parameters, as one slot
    private final AdamWState state;
    private final Tensor average; // [P]; null: none is kept
    private final Tensor norms; // the gradient's, and a copy that becomes NaN where the step is not taken
    private final float[] normsOnHost = new float[2];
    private final TrainConfig.Optimizer options;
    private final long total;
    private long step;

    /**
     * @param parameters [P], changed in place; stays the caller's
     * @param total      steps of the whole run, for the schedule
     */
    SharedOptimizer(BufferPlan plan, Tensor parameters, TrainConfig.Optimizer options, long total) {
        this.ops = Ops.of(plan.device());
        this.parameters = parameters;
        this.count = parameters.elements();
        this.vector = SlotVectors.dense(count, 1);
        this.state = AdamWState.in(plan, count);
        this.average = options.ema() > 0 ? plan.floats(count) : null;
        this.norms = plan.floats(2);
        this.options = options;
        this.total = total;
    }

    /** Steps taken. */
    long step() {
        return step;
    }

    /** Learning rate the next step will use. */
    double learningRate() {
        return options.learningRate(step, total);
    }

    /**
     * Queues one step, without waiting for the device. One whose gradient or outcome is not finite changes nothing.
     *
     * @param gradient [P]; clipped in place
     */
    void queue(Tensor gradient) {
        ops.clipGlobalNorm(vector, gradient, norms, (float) options.clip());
        norms.copyFrom(norms, 0, 1, 1);
        ops.adamw(vector, state.of(parameters, gradient), norms.view(1, 1), step + 1,
                new AdamW((float) learningRate(), (float) options.beta1(), (float) options.beta2(), (float) options.eps(),
                        (float) options.weightDecay()));
    }

    /**
     * Waits for the step that was queued.
     *
     * @return the gradient's norm before clipping
     * @throws TrainingDivergedException if the norm is not finite, or what the step would have given; the step then was none
     */
    double await() {
        double lr = learningRate();
        norms.download(normsOnHost);
        if (!Float.isFinite(normsOnHost[0])) {
            throw new TrainingDivergedException("step " + (step + 1) + ": the gradient's norm is " + normsOnHost[0]
                    + "; lower optimizer.lr (or meta.inner_lr)");
        }
        if (!Float.isFinite(normsOnHost[1])) {
            throw new TrainingDivergedException("step " + (step + 1) + ": with a rate of " + lr + " and a gradient of norm "
                    + normsOnHost[0] + ", AdamW would give NaN or infinity; lower optimizer.lr or "
                    + "optimizer.weight_decay, set optimizer.clip or raise optimizer.eps");
        }
        step++;
        if (average != null) {
            addToAverage();
        }
        return normsOnHost[0];
    }

    private void addToAverage() {
        float share = (float) ((1 - options.ema()) / (1 - StrictMath.pow(options.ema(), step)));
        ops.sgd(vector, average, parameters, -share, -1); // average -= -share (theta - average)
    }

    /** Puts the average, where one is kept, in the place of the parameters. No step may follow. */
    void conclude() {
        if (average != null && step > 0) {
            parameters.copyFrom(average, 0, 0, count);
        }
    }

    /**
     * Copies the whole state to the host.
     *
     * @param composition its part of it
     * @param innerRates  theirs
     * @throws TrainingDivergedException if a number of it is not finite, as those of the adapter that was given may be
     */
    TrainerState snapshot(float[] composition, float[] innerRates) {
        var state = new TrainerState(step, parameters.toFloats(), this.state.m().toFloats(), this.state.v().toFloats(),
                composition).with(average == null ? new float[0] : average.toFloats(), innerRates);
        state.notFinite().ifPresent(what -> {
            throw new TrainingDivergedException("the state after " + step + " steps can't be kept: " + what);
        });
        return state;
    }

    /**
     * Continues from a snapshot, bit for bit.
     *
     * @throws InputException if it is of an adapter of another size, or a number of it is not finite
     */
    void restore(TrainerState snapshot) {
        if (snapshot.parameters().length != count || snapshot.m().length != count || snapshot.v().length != count) {
            throw new InputException("the state is of an adapter of " + snapshot.parameters().length + " parameters, not "
                    + count);
        }
        if (average != null && snapshot.average().length != count) {
            throw new InputException("the state holds no average of the adapter, which optimizer.ema asks for; it was not set "
                    + "when the run began");
        }
        snapshot.notFinite().ifPresent(what -> {
            throw new InputException("the state after " + snapshot.step() + " steps is of no use: " + what);
        });
        parameters.upload(snapshot.parameters());
        state.m().upload(snapshot.m());
        state.v().upload(snapshot.v());
        if (average != null) {
            average.upload(snapshot.average());
        }
        step = snapshot.step();
    }
}
