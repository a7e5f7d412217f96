package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.config.TrainConfig;
import io.metalora.io.ModelConfig;
import io.metalora.model.LoadOptions;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Device;
import io.metalora.task.EncodedTask;
import java.util.List;

/**
 * A way to train the shared adapter, or those of tasks apart, one iteration at a time. Iteration i does the same whether or not the iterations
 * before it ran in this process: with the state restored, a run continues bit for bit.
 */
public sealed interface Trainer extends AutoCloseable permits MetaLora, JointLora, SeparateLora {

    /**
     * What training holds on a device beside the model: the shared adapter, the buffers of a pass, and what the method keeps. The
     * code that lays these out gives their size; nothing is loaded or allocated for it.
     *
     * @param options with which the model is loaded, or will be
     * @param layout  of the adapter
     * @throws io.metalora.runtime.InputException if there are too few tasks or samples, or an example is longer than a pass
     */
    static MemoryEstimate estimate(
            TrainConfig config, ModelConfig model, LoadOptions options, AdapterLayout layout, List<EncodedTask> tasks, Device device) {
        var plan = new BufferPlan(device);
        PassLimits limits = switch (config.method()) {
            case META_LORA -> MetaLora.plan(plan, layout, tasks, config);
            case JOINT_LORA -> JointLora.plan(plan, layout, tasks, config);
            case SEPARATE_LORA -> SeparateLora.plan(plan, layout, tasks, FineTuning.of(config));
        };
        return PassAccess.get().trainingEstimate(model, options, limits, layout, device)
                .plus(new MemoryEstimate(0, 0, plan.bytes()));
    }

    /** Iterations of the whole run. */
    long total();

    /** Iterations done. */
    long done();

    /**
     * Bytes of scratch memory that the largest op takes: they were set aside, unless ops before had taken more. 0 on the CPU,
     * whose ops take host memory as they run.
     */
    long scratchBytes();

    /**
     * The next iteration: draws, trains, and updates the shared adapter.
     *
     * <p>One that ends with an exception leaves the shared adapter and the trainer as they were after the last whole iteration.
     *
     * @throws TrainingDivergedException                  if a loss, a gradient or the step is not finite
     * @throws io.metalora.runtime.InputException         if the cause is weights of the model that are not finite, or a loss is
     *                                                    not finite before anything is learned
     * @throws java.util.concurrent.CancellationException if a stop was asked for
     */
    IterationReport iterate();

    /** Copies what another process needs to continue from here; all of it is finite. */
    TrainerState state();

    /** Continues from a state, bit for bit. */
    void restore(TrainerState state);

    /** Where an average over the iterations is kept, puts it in the place of the shared adapter. No iteration may follow. */
    void conclude();

    @Override
    void close();
}
