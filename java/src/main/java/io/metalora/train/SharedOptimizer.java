package io.metalora.train;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Held;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Ops;
import io.metalora.runtime.Tensor;

/** Clip and AdamW with a schedule on the shared adapter. */
final class SharedOptimizer implements AutoCloseable {

    private final Held held = new Held();
    private final Ops ops;
    private final Tensor parameters;
    private final long count;
    private final AdamWState state;
    private final Tensor norm;
    private final float[] normOnHost = new float[1];
    private final TrainConfig.Optimizer options;
    private final long total;
    private long step;

    /**
     * @param parameters [P], changed in place; stays the caller's
     * @param total      steps of the whole run, for the schedule
     */
    SharedOptimizer(Device device, Tensor parameters, TrainConfig.Optimizer options, long total) {
        this.ops = device.ops();
        this.parameters = parameters;
        this.count = parameters.elements();
        this.state = held.add(() -> AdamWState.zeros(device, count), AdamWState::close);
        this.norm = held.add(() -> device.zeros(DType.F32, 1), Tensor::close);
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
     * Queues one step, without waiting for the device. A gradient whose norm is not finite changes nothing.
     *
     * @param gradient [P]; clipped in place
     */
    void queue(Tensor gradient) {
        ops.clipGlobalNorm(gradient, norm, count, count, 1, (float) options.clip());
        ops.adamw(parameters, gradient, state.m(), state.v(), norm, count, count, 1, step + 1, (float) learningRate(),
                (float) options.beta1(), (float) options.beta2(), (float) options.eps(), (float) options.weightDecay());
    }

    /**
     * Waits for the step that was queued.
     *
     * @return the gradient's norm before clipping
     * @throws TrainingDivergedException if the norm is not finite; the step then was none
     */
    double settle() {
        norm.download(normOnHost);
        if (!Float.isFinite(normOnHost[0])) {
            throw new TrainingDivergedException("step " + (step + 1) + ": the gradient's norm is " + normOnHost[0]
                    + "; lower optimizer.lr (or meta.inner_lr)");
        }
        step++;
        return normOnHost[0];
    }

    /** Copies the whole state to the host. */
    TrainerState snapshot() {
        return new TrainerState(step, parameters.toFloats(), state.m().toFloats(), state.v().toFloats());
    }

    /**
     * Goes on from a snapshot, bit for bit.
     *
     * @throws InputException if it is of an adapter of another size
     */
    void restore(TrainerState snapshot) {
        if (snapshot.parameters().length != count || snapshot.m().length != count || snapshot.v().length != count) {
            throw new InputException("the state is of an adapter of " + snapshot.parameters().length + " parameters, not "
                    + count);
        }
        parameters.upload(snapshot.parameters());
        state.m().upload(snapshot.m());
        state.v().upload(snapshot.v());
        step = snapshot.step();
    }

    @Override
    public void close() {
        held.close();
    }
}
