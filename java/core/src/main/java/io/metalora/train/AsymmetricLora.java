package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.Composition;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BooleanSupplier;

/**
 * Asymmetric LoRA without a router (the one A and many B of HydraLoRA, Tian et al. 2024, where the task is known): one A for all
 * tasks and a B of each, trained together. The batches are those of {@link JointLora}, samples of all tasks mixed, and so is the
 * loss, the mean over all completion tokens; each sample goes through its task's B, one pass over the frozen weights serves all.
 * One AdamW, with one clip of the gradient's norm, steps A and every B. With one task it is joint LoRA, bit for bit.
 */
public final class AsymmetricLora implements TaskTrainer {

    private final Held held = new Held();
    private final List<EncodedTask> tasks;
    private final MixedSamples samples;
    private final AdapterSlots slots;
    private final SharedA sharedA;
    private final Tensor gradient; // of all slots, as one vector
    private final GradientPass pass;
    private final SharedOptimizer optimizer;
    private final BatchStep batchStep;
    private final double[] losses;
    private final long scratchBytes;

    /**
     * Prepares training on the model; holds buffers on its device until closed.
     *
     * @param start  LoRA, whose A all begin with, and whose B each task; unchanged, stays the caller's
     * @param tasks  none without samples
     * @param config its sections joint, optimizer and compute, and its seed
     * @param stop   asked before every pass; ends the iteration when true
     * @throws InputException if {@code start} is a mixture
     */
    public AsymmetricLora(CausalLM model, LoraAdapter start, List<EncodedTask> tasks, TrainConfig config, BooleanSupplier stop) {
        this.tasks = List.copyOf(tasks);
        this.samples = new MixedSamples(tasks, config.joint(), config.seed());
        this.losses = new double[tasks.size()];
        PassLimits limits = limits(tasks, config);
        var plan = new BufferPlan(model.device());
        var buffers = Buffers.in(plan, start.layout(), limits, config, samples.steps());
        held.add(plan::allocate, BufferPlan::close);
        this.slots = buffers.slots();
        this.sharedA = buffers.sharedA();
        this.gradient = flat(slots.gradients());
        this.optimizer = buffers.optimizer();
        this.pass = held.add(() -> new GradientPass(model, start.layout(), new PackBuilder(limits, PackBuilder.LossMean.OF_BATCH),
                buffers.losses(), stop), GradientPass::close);
        this.batchStep = new BatchStep(config.seed(), pass, optimizer, losses);
        this.scratchBytes = held.orClose(() -> {
            slots.setAll(start.parameters());
            sharedA.prepare();
            return pass.plan(slots, () -> queue(List.of(), 0));
        });
    }

    /** What training holds beside the adapter that all start from and the buffers of a pass. */
    private record Buffers(AdapterSlots slots, SharedA sharedA, SharedOptimizer optimizer, LossLedger losses) {

        static Buffers in(BufferPlan plan, AdapterLayout layout, PassLimits limits, TrainConfig config, long total) {
            LoraLayout lora = switch (layout) {
                case LoraLayout of -> of;
                case MixtureLayout of -> throw new InputException("asymmetric LoRA has one B of each task and no router: it "
                        + "can't begin from " + of + "; begin from LoRA");
            };
            AdapterSlots slots = PassAccess.get().slots(plan, layout, limits.slots());
            return new Buffers(slots, new SharedA(plan, slots, lora),
                    new SharedOptimizer(plan, flat(slots.parameters()), config.optimizer(), total), new LossLedger(plan, limits));
        }
    }

    private static Tensor flat(Tensor ofSlots) {
        return ofSlots.view(0, ofSlots.elements());
    }

    /** As {@link MetaLora#plan}. */
    static PassLimits plan(BufferPlan plan, AdapterLayout layout, List<EncodedTask> tasks, TrainConfig config) {
        PassLimits limits = limits(tasks, config);
        plan.floats(layout.parameters());
        Buffers.in(plan, layout, limits, config, 1);
        return limits;
    }

    /** Of a pass, for any batch of the tasks' samples. */
    private static PassLimits limits(List<EncodedTask> tasks, TrainConfig config) {
        if (tasks.size() > TrainConfig.MOST_TASKS) {
            throw new InputException("one A for " + tasks.size() + " tasks, but it can be that of " + TrainConfig.MOST_TASKS
                    + " at most; choose fewer with data.names");
        }
        PassLimits ofBatch = JointLora.limits(tasks, config);
        return new PassLimits(ofBatch.tokens(), ofBatch.sequences(), ofBatch.lossRows(), tasks.size());
    }

    /** All that a step does on the device. */
    private void queue(List<List<EncodedExample>> batch, long dropoutSeed) {
        slots.zeroGradients();
        pass.backward(batch, slots, AdapterPart.ALL, dropoutSeed, losses);
        sharedA.queueSum();
        optimizer.queue(gradient);
        sharedA.queueCopies();
    }

    @Override
    public long total() {
        return samples.steps();
    }

    @Override
    public long done() {
        return optimizer.step();
    }

    @Override
    public long scratchBytes() {
        return scratchBytes;
    }

    @Override
    public IterationReport iterate() {
        List<MixedSamples.Sample> drawn = samples.batch(done());
        var batch = new ArrayList<List<EncodedExample>>();
        tasks.forEach(task -> batch.add(new ArrayList<>()));
        drawn.forEach(sample -> batch.get(sample.slot()).add(sample.example()));
        return pass.whole(() -> batchStep.take(MixedSamples.draws(drawn), dropoutSeed -> queue(batch, dropoutSeed)));
    }

    /** The adapter of each task, its A the same in all. */
    @Override
    public Map<String, LoraAdapter> adapters() {
        long count = slots.layout().parameters();
        var adapters = new LinkedHashMap<String, LoraAdapter>();
        for (int slot = 0; slot < tasks.size(); slot++) {
            adapters.put(tasks.get(slot).name(), LoraAdapter.of(slots.layout(), slots.parameters().view(slot * count, count)));
        }
        return adapters;
    }

    /** None: they are trained together, and where a number is not finite the iteration ends with an exception. */
    @Override
    public Map<String, String> failures() {
        return Map.of();
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
    public void finish() {
        pass.close();
    }

    @Override
    public void close() {
        held.close();
    }
}
