package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.InnerOptimizer;
import io.metalora.file.Shown;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.random.CounterRandom;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.AdamW;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;

/**
 * LoRA of each task by itself: n adapters, each fine-tuned on the samples of its own task by an optimizer of its own, as if it
 * were the only one. One pass over the frozen weights serves the step of all of them. A task's order of samples and its schedule
 * depend on nothing but the task; what it gives differs from a training alone by rounding, and with dropout by the masks.
 *
 * <p>A task that diverges (NaN or infinity) stays as it was before, and takes no further part; the others continue.
 */
public final class SeparateLora implements TaskTrainer {

    private static final long MOST_STATE = 1L << 30;
    private static final int MOST_TOGETHER = 64;

    private final FineTuning options;
    private final Held held = new Held();
    private final Ops ops;
    private final AdapterSlots slots;
    private final SlotVectors vectors;
    private final AdamWState moments; // null: plain SGD
    private final Tensor before; // of plain SGD, which can't be told to leave a slot as it is: the parameters before the step
    private final Tensor norms; // of each slot's gradient, and a copy that becomes NaN where the step is not taken
    private final float[] normsOnHost;
    private final GradientPass pass;
    private final List<Slot> tasks;
    private final double[] losses;
    private final long total;
    private final long scratchBytes;
    private long done;

    /** A task, and its part of what is held. */
    private final class Slot {

        private final EncodedTask task;
        private final int number;
        private final int samples;
        private final int batch;
        private final long total;
        private final SlotVectors vector;
        private final long offset;
        private final Tensor parameters;
        private final Tensor gradient;
        private final Tensor m;
        private final Tensor v;
        private final Tensor taken;
        private long orderedEpoch = -1;
        private int[] order;
        private long failedAt; // the step, from 1; 0: none did
        private String failure;

        Slot(EncodedTask task, int slot) {
            long count = slots.layout().parameters();
            this.task = task;
            this.number = slot;
            this.samples = task.examples().size();
            this.batch = options.batch(samples);
            this.total = options.stepsFor(samples);
            this.vector = SlotVectors.dense(count, 1);
            this.offset = slot * count;
            this.parameters = slots.parameters().view(offset, count);
            this.gradient = slots.gradients().view(offset, count);
            this.m = moments == null ? null : moments.m().view(offset, count);
            this.v = moments == null ? null : moments.v().view(offset, count);
            this.taken = norms.view((long) slots.slots() + slot, 1);
        }

        boolean isActive() {
            return done < total && failedAt == 0;
        }

        /** Places of the samples of the next step; every epoch has an order of its own. */
        int[] next() {
            long perEpoch = Math.ceilDiv(samples, batch);
            long epoch = done / perEpoch;
            if (epoch != orderedEpoch) {
                order = new CounterRandom(options.seed(), CounterRandom.Purpose.EPOCH, epoch, task.name()).distinct(samples, samples);
                orderedEpoch = epoch;
            }
            int from = (int) (done % perEpoch) * batch;
            return Arrays.copyOfRange(order, from, Math.min(samples, from + batch));
        }

        double learningRate() {
            return options.optimizer().learningRate(done, total);
        }

        void queueStep() {
            var rule = options.optimizer();
            float lr = (float) learningRate();
            float decay = (float) rule.weightDecay();
            if (moments == null) {
                before.copyFrom(slots.parameters(), offset, offset, vector.count());
                ops.sgd(vector, parameters, gradient, lr, decay);
                ops.clipGlobalNorm(vector, parameters, taken, 0);
            } else {
                ops.adamw(vector, new AdamW.Vectors(parameters, gradient, m, v), taken, done + 1,
                        new AdamW(lr, (float) rule.beta1(), (float) rule.beta2(), (float) rule.eps(), decay));
            }
        }

        /** After the step that was queued: whether it was one. */
        void check(double loss, float norm, float stepped) {
            if (Double.isFinite(loss) && Float.isFinite(norm) && Float.isFinite(stepped)) {
                return;
            }
            failedAt = done + 1;
            failure = "step " + failedAt + ": " + (!Double.isFinite(loss) ? "the loss is " + loss
                    : !Float.isFinite(norm) ? "the gradient's norm is " + norm
                    : "with a rate of " + learningRate() + " and a gradient of norm " + norm + ", the step would give NaN or infinity");
            if (before != null) {
                slots.parameters().copyFrom(before, offset, offset, vector.count());
            }
        }
    }

    /**
     * Prepares training on the model; holds buffers on its device until closed.
     *
     * @param start where every task starts; unchanged, stays the caller's
     * @param tasks none without samples; one adapter each
     * @param stop  asked before every pass; ends the iteration when true
     */
    public SeparateLora(CausalLM model, LoraAdapter start, List<EncodedTask> tasks, FineTuning options, BooleanSupplier stop) {
        int n = tasks.size();
        PassLimits limits = limits(tasks, options);
        this.options = options;
        this.ops = Ops.of(model.device());
        this.vectors = SlotVectors.dense(start.layout().parameters(), n);
        var plan = new BufferPlan(model.device());
        var buffers = Buffers.in(plan, start.layout(), n, limits, options);
        held.add(plan::allocate, BufferPlan::close);
        this.slots = buffers.slots();
        this.moments = buffers.moments();
        this.before = buffers.before();
        this.norms = buffers.norms();
        this.normsOnHost = new float[2 * n];
        this.pass = held.add(() -> new GradientPass(model, start.layout(), limits, buffers.losses(), stop), GradientPass::close);
        var all = new ArrayList<Slot>();
        for (int i = 0; i < n; i++) {
            all.add(new Slot(tasks.get(i), i));
        }
        requireRate(all);
        this.tasks = List.copyOf(all);
        this.losses = new double[n];
        this.total = all.stream().mapToLong(slot -> slot.total).max().orElseThrow();
        this.scratchBytes = held.orClose(() -> {
            slots.setAll(start.parameters());
            return pass.plan(slots, () -> {
                queueGradients(List.of(), 0);
                this.tasks.forEach(Slot::queueStep);
            });
        });
    }

    /** A warm-up that takes all of a task's steps at a rate of 0 would leave it as it was. */
    private void requireRate(List<Slot> all) {
        var rule = options.optimizer();
        List<String> none = all.stream().filter(slot -> rule.lr() > 0 && slot.total <= rule.warmup(slot.total) && slot.total == 1)
                .map(slot -> Shown.plain(slot.task.name())).toList();
        if (!none.isEmpty()) {
            throw new InputException("the warm-up takes the only step of " + String.join(", ", none) + " at a learning rate of 0, so that nothing would be "
                    + "learned; train for more epochs, in smaller batches, or without warm-up");
        }
    }

    /**
     * What training holds beside the adapter that all start from and the buffers of a pass.
     *
     * @param moments null with plain SGD
     * @param before  null unless with plain SGD
     * @param norms   [2, n]
     */
    private record Buffers(AdapterSlots slots, AdamWState moments, Tensor before, Tensor norms, LossLedger losses) {

        static Buffers in(BufferPlan plan, AdapterLayout layout, int n, PassLimits limits, FineTuning options) {
            boolean adamW = options.algorithm() == InnerOptimizer.ADAMW;
            return new Buffers(PassAccess.get().slots(plan, layout, n), adamW ? AdamWState.in(plan, n, layout.parameters()) : null,
                    adamW ? null : plan.floats(n, layout.parameters()), plan.floats(2L * n), new LossLedger(plan, limits));
        }
    }

    /** As {@link MetaLora#plan}. */
    static PassLimits plan(BufferPlan plan, AdapterLayout layout, List<EncodedTask> tasks, FineTuning options) {
        PassLimits limits = limits(tasks, options);
        plan.floats(layout.parameters());
        Buffers.in(plan, layout, tasks.size(), limits, options);
        return limits;
    }

    /** What training holds beside the model, the adapter that all start from included. */
    public static MemoryEstimate estimate(CausalLM model, AdapterLayout layout, List<EncodedTask> tasks, FineTuning options) {
        var plan = new BufferPlan(model.device());
        PassLimits limits = plan(plan, layout, tasks, options);
        return PassAccess.get().trainingEstimate(model.config(), model.options(), limits, layout, model.device())
                .plus(new MemoryEstimate(0, 0, plan.bytes()));
    }

    /** Tasks that are trained together: as many as their parameters, gradients and moments leave within 1 GiB. */
    public static int groupSize(AdapterLayout layout, int tasks) {
        long each = 4L * Float.BYTES * layout.parameters();
        return (int) Math.clamp(MOST_STATE / each, 1, Math.min(tasks, MOST_TOGETHER));
    }

    /** Of a pass, for any step of the tasks. */
    static PassLimits limits(List<EncodedTask> tasks, FineTuning options) {
        int most = tasks.stream().mapToInt(task -> options.batch(task.examples().size())).max().orElseThrow();
        return PackBuilder.limits(tasks.size(), most, EncodedTask.longest(tasks), options.tokenBudget());
    }

    private void queueGradients(List<List<EncodedExample>> batch, long dropoutSeed) {
        slots.zeroGradients();
        pass.backward(batch, slots, options.adapts(), dropoutSeed, losses);
        ops.clipGlobalNorm(vectors, slots.gradients(), norms, (float) options.optimizer().clip());
        norms.copyFrom(norms, 0, slots.slots(), slots.slots());
    }

    /** The steps of the longest task; those done, once no task can take another. */
    @Override
    public long total() {
        return tasks.stream().anyMatch(Slot::isActive) ? total : done;
    }

    @Override
    public long done() {
        return done;
    }

    @Override
    public long scratchBytes() {
        return scratchBytes;
    }

    /** The adapters, task i's in slot i; stay this object's. */
    public AdapterSlots slots() {
        return slots;
    }

    @Override
    public Map<String, LoraAdapter> adapters() {
        var adapters = new LinkedHashMap<String, LoraAdapter>();
        for (Slot slot : tasks) {
            if (slot.failedAt == 0) {
                adapters.put(slot.task.name(), LoraAdapter.of(slots.layout(), slot.parameters));
            }
        }
        return adapters;
    }

    @Override
    public Map<String, String> failures() {
        var failures = new LinkedHashMap<String, String>();
        for (Slot slot : tasks) {
            if (slot.failedAt > 0) {
                failures.put(slot.task.name(), slot.failure);
            }
        }
        return failures;
    }

    /** The next step of every task that has one left. */
    @Override
    public IterationReport iterate() {
        return pass.whole(this::run);
    }

    private IterationReport run() {
        long begin = System.nanoTime();
        var batch = new ArrayList<List<EncodedExample>>();
        var draws = new ArrayList<IterationReport.Draw>();
        for (Slot slot : tasks) {
            int[] places = slot.isActive() ? slot.next() : new int[0];
            batch.add(Arrays.stream(places).mapToObj(slot.task.examples()::get).toList());
            if (places.length > 0) {
                draws.add(new IterationReport.Draw(slot.task.name(), List.of(), Arrays.stream(places).map(slot.task::line).boxed().toList(),
                        OptionalDouble.empty()));
            }
        }
        List<Slot> active = tasks.stream().filter(Slot::isActive).toList();
        double lr = active.stream().mapToDouble(Slot::learningRate).max().orElse(0);
        queueGradients(batch, new CounterRandom(options.seed(), CounterRandom.Purpose.DROPOUT, done).nextLong());
        active.forEach(Slot::queueStep);
        pass.await();
        norms.download(normsOnHost);
        if (done == 0) {
            pass.requireFiniteBeginning(losses);
        }
        var reports = new ArrayList<IterationReport.TaskReport>();
        for (Slot slot : active) {
            int i = slot.number;
            slot.check(losses[i], normsOnHost[i], normsOnHost[tasks.size() + i]);
            if (slot.failedAt == 0) {
                reports.add(new IterationReport.TaskReport(slot.task.name(), List.of(), OptionalDouble.empty(), losses[i], normsOnHost[i]));
            }
        }
        done++;
        // Not a number where no task is left to have one.
        double loss = reports.stream().mapToDouble(IterationReport.TaskReport::queryLoss).average().orElse(Double.NaN);
        double norm = reports.stream().mapToDouble(IterationReport.TaskReport::gradientNorm).average().orElse(Double.NaN);
        double seconds = (System.nanoTime() - begin) * 1e-9;
        return new IterationReport(done, lr, loss, norm, pass.takeTokens(), seconds, reports, Gram.NONE, draws, Map.of());
    }

    /** Does nothing: what is trained is what is kept. */
    @Override
    public void conclude() {
    }

    @Override
    public void finish() {
        pass.close();
    }

    @Override
    public TrainerState state() {
        var failed = new float[tasks.size()]; // exact up to step 2^24; beyond it only the message would name a step nearby
        for (int i = 0; i < failed.length; i++) {
            failed[i] = tasks.get(i).failedAt;
        }
        float[] none = new float[0];
        var state = new TrainerState(done, slots.parameters().toFloats(), moments == null ? none : moments.m().toFloats(),
                moments == null ? none : moments.v().toFloats(), failed);
        state.notFinite().ifPresent(what -> {
            throw new TrainingDivergedException("the state after " + done + " steps can't be kept: " + what);
        });
        return state;
    }

    /** @throws InputException if it is of other tasks or an adapter of another size */
    @Override
    public void restore(TrainerState state) {
        int count = Math.toIntExact(slots.parameters().elements());
        if (state.parameters().length != count || moments != null && state.m().length != count || state.composition().length != tasks.size()) {
            throw new InputException("the state is of " + state.composition().length + " tasks with " + state.parameters().length
                    + " parameters together, not of " + tasks.size() + " with " + count);
        }
        state.notFinite().ifPresent(what -> {
            throw new InputException("the state after " + state.step() + " steps is of no use: " + what);
        });
        slots.parameters().upload(state.parameters());
        if (moments != null) {
            moments.m().upload(state.m());
            moments.v().upload(state.v());
        }
        for (int i = 0; i < tasks.size(); i++) {
            Slot slot = tasks.get(i);
            slot.failedAt = (long) state.composition()[i];
            slot.failure = "step " + slot.failedAt + ", before the run was resumed";
        }
        done = state.step();
    }

    @Override
    public void close() {
        held.close();
    }
}
