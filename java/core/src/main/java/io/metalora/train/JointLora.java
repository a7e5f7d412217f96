package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.Composition;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.List;
import java.util.function.BooleanSupplier;

/**
 * "Traditional" LoRA (Hu et al. 2021) on the samples of all tasks mixed: every epoch goes through all of them in an
 * order of its own, one AdamW step a batch. The loss is the mean over all completion tokens of the batch.
 */
public final class JointLora implements Trainer {

    private final Held held = new Held();
    private final LoraAdapter shared;
    private final MixedSamples samples;
    private final AdapterSlots slot;
    private final Tensor gradient;
    private final GradientPass pass;
    private final long scratchBytes;
    private final SharedOptimizer optimizer;
    private final BatchStep batchStep;
    private final double[] loss = new double[1];

    /**
     * Prepares training on the model; holds buffers on its device until closed.
     *
     * @param shared the adapter to train, changed in place; stays the caller's
     * @param tasks  whose samples are mixed
     * @param config its sections joint, optimizer and compute, and its seed
     */
    public JointLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config) {
        this(model, shared, tasks, config, () -> false);
    }

    /** As above; {@code stop} is asked before every pass and ends the iteration when true. */
    public JointLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config, BooleanSupplier stop) {
        this.shared = shared;
        this.samples = new MixedSamples(tasks, config.joint(), config.seed());
        PassLimits limits = limits(tasks, config);
        var plan = new BufferPlan(model.device());
        var buffers = Buffers.in(plan, shared.layout(), shared.parameters(), limits, config, samples.steps());
        held.add(plan::allocate, BufferPlan::close);
        this.slot = buffers.slot();
        this.gradient = slot.gradients().view(0, shared.layout().parameters());
        this.pass = held.add(() -> new GradientPass(model, shared.layout(), limits, buffers.losses(), stop), GradientPass::close);
        this.optimizer = buffers.optimizer();
        this.batchStep = new BatchStep(config.seed(), pass, optimizer, loss);
        this.scratchBytes = held.orClose(() -> pass.plan(slot, () -> queue(List.of(), 0)));
    }

    /** What training holds beside the shared adapter and the buffers of a pass. */
    private record Buffers(AdapterSlots slot, SharedOptimizer optimizer, LossLedger losses) {

        static Buffers in(BufferPlan plan, AdapterLayout layout, Tensor shared, PassLimits limits, TrainConfig config, long total) {
            return new Buffers(PassAccess.get().slots(plan, layout, 1), new SharedOptimizer(plan, shared, config.optimizer(), total),
                    new LossLedger(plan, limits));
        }
    }

    /** As {@link MetaLora#plan}. */
    static PassLimits plan(BufferPlan plan, AdapterLayout layout, List<EncodedTask> tasks, TrainConfig config) {
        PassLimits limits = limits(tasks, config);
        Buffers.in(plan, layout, plan.floats(layout.parameters()), limits, config, 1);
        return limits;
    }

    /** Of a pass, for any batch of the tasks' samples. */
    static PassLimits limits(List<EncodedTask> tasks, TrainConfig config) {
        return PackBuilder.limits(1, MixedSamples.batchSize(tasks, config.joint()), EncodedTask.longest(tasks),
                config.compute().tokenBudget());
    }

    @Override
    public long total() {
        return samples.steps();
    }

    @Override
    public long scratchBytes() {
        return scratchBytes;
    }

    @Override
    public long done() {
        return optimizer.step();
    }

    @Override
    public TrainerState state() {
        return optimizer.snapshot(Composition.STATELESS, new float[0]);
    }

    @Override
    public void restore(TrainerState state) {
        optimizer.restore(state);
    }

    @Override
    public void conclude() {
        optimizer.conclude();
    }

    @Override
    public IterationReport iterate() {
        List<MixedSamples.Sample> batch = samples.batch(done());
        return step(batch.stream().map(MixedSamples.Sample::example).toList(), MixedSamples.draws(batch));
    }

    /** One step on a given batch; with {@code draws} for the report. */
    IterationReport step(List<EncodedExample> batch, List<IterationReport.Draw> draws) {
        return pass.whole(() -> batchStep.take(draws, dropoutSeed -> queue(batch, dropoutSeed)));
    }

    /** All that a step does on the device. */
    private void queue(List<EncodedExample> batch, long dropoutSeed) {
        slot.setAll(shared.parameters());
        slot.zeroGradients();
        pass.backward(List.of(batch), slot, AdapterPart.ALL, dropoutSeed, loss);
        optimizer.queue(gradient);
    }

    @Override
    public void close() {
        held.close();
    }
}
