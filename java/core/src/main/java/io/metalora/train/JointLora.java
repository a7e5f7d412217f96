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
import io.metalora.random.CounterRandom;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.Composition;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;

/**
 * "Traditional" LoRA (Hu et al. 2021) on the samples of all tasks mixed: every epoch goes through all of them in an
 * order of its own, one AdamW step a batch. The loss is the mean over all completion tokens of the batch.
 */
public final class JointLora implements Trainer {

    private record Sample(EncodedTask task, int index) {

        EncodedExample example() {
            return task.examples().get(index);
        }
    }

    private final TrainConfig config;
    private final Held held = new Held();
    private final LoraAdapter shared;
    private final List<Sample> samples;
    private final AdapterSlots slot;
    private final Tensor gradient;
    private final GradientPass pass;
    private final long scratchBytes;
    private final SharedOptimizer optimizer;
    private final long stepsPerEpoch;
    private final long total;
    private final double[] loss = new double[1];
    private long orderedEpoch = -1;
    private int[] order;

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
        this.config = config;
        this.shared = shared;
        var all = new ArrayList<Sample>();
        for (EncodedTask task : tasks) {
            for (int i = 0; i < task.examples().size(); i++) {
                all.add(new Sample(task, i));
            }
        }
        this.samples = List.copyOf(all);
        int batch = Math.min(config.joint().batchSize(), samples.size());
        this.stepsPerEpoch = Math.ceilDiv(samples.size(), batch);
        this.total = stepsPerEpoch * config.joint().epochs();
        PassLimits limits = limits(tasks, config);
        var plan = new BufferPlan(model.device());
        var buffers = Buffers.in(plan, shared.layout(), shared.parameters(), limits, config, total);
        held.add(plan::allocate, BufferPlan::close);
        this.slot = buffers.slot();
        this.gradient = slot.gradients().view(0, shared.layout().parameters());
        this.pass = held.add(() -> new GradientPass(model, shared.layout(), limits, buffers.losses(), stop), GradientPass::close);
        this.optimizer = buffers.optimizer();
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
        int samples = tasks.stream().mapToInt(task -> task.examples().size()).sum();
        return PackBuilder.limits(1, Math.min(config.joint().batchSize(), samples), EncodedTask.longest(tasks),
                config.compute().tokenBudget());
    }

    @Override
    public long total() {
        return total;
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
        long epoch = done() / stepsPerEpoch;
        if (epoch != orderedEpoch) {
            order = new CounterRandom(config.seed(), CounterRandom.Purpose.EPOCH, epoch).distinct(samples.size(), samples.size());
            orderedEpoch = epoch;
        }
        int from = (int) (done() % stepsPerEpoch) * config.joint().batchSize();
        int to = Math.min(samples.size(), from + config.joint().batchSize());
        return step(Arrays.stream(order, from, to).mapToObj(samples::get).toList());
    }

    private IterationReport step(List<Sample> batch) {
        var lines = new TreeMap<String, List<Integer>>();
        for (Sample sample : batch) {
            lines.computeIfAbsent(sample.task.name(), name -> new ArrayList<>()).add(sample.task.line(sample.index));
        }
        var draws = lines.entrySet().stream().map(entry -> new IterationReport.Draw(entry.getKey(), List.of(), entry.getValue(), OptionalDouble.empty())).toList();
        return step(batch.stream().map(Sample::example).toList(), draws);
    }

    /** One step on a given batch; with {@code draws} for the report. */
    IterationReport step(List<EncodedExample> batch, List<IterationReport.Draw> draws) {
        return pass.whole(() -> run(batch, draws));
    }

    /** All that a step does on the device. */
    private void queue(List<EncodedExample> batch, long dropoutSeed) {
        slot.setAll(shared.parameters());
        slot.zeroGradients();
        pass.backward(List.of(batch), slot, AdapterPart.ALL, dropoutSeed, loss);
        optimizer.queue(gradient);
    }

    private IterationReport run(List<EncodedExample> batch, List<IterationReport.Draw> draws) {
        long begin = System.nanoTime();
        long dropoutSeed = new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, done()).nextLong();
        double lr = optimizer.learningRate();
        queue(batch, dropoutSeed);
        pass.await();
        if (done() == 0) {
            pass.requireFiniteBeginning(loss);
        }
        if (!Double.isFinite(loss[0])) {
            throw new TrainingDivergedException("step " + (done() + 1) + ": the loss is " + loss[0] + "; lower optimizer.lr");
        }
        double norm = optimizer.await();
        double seconds = (System.nanoTime() - begin) * 1e-9;
        return new IterationReport(done(), lr, loss[0], norm, pass.takeTokens(), seconds, List.of(), Gram.NONE, draws, Map.of());
    }

    @Override
    public void close() {
        held.close();
    }
}
