package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.random.CounterRandom;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;
import java.util.function.LongConsumer;
import java.util.stream.IntStream;

/**
 * Stage 1 on its own: from a shared adapter to one adapted to each task, as it is used after training. Tasks are adapted in
 * groups, in slots that are used again for the next group: what is held does not grow with the number of tasks.
 */
public final class TaskAdaptation implements AutoCloseable {

    /** Stands for the iteration in the dropout seed: adaptation belongs to none. */
    private static final long NO_ITERATION = -1;

    private final Held held = new Held();
    private final LoraAdapter shared;
    private final int steps;
    private final long dropoutSeed;
    private final LongConsumer progress;
    private final AdapterSlots slots;
    private final GradientPass pass;
    private final InnerLoop inner;

    /**
     * What will be adapted, and how.
     *
     * @param tasks  all of them, none without examples
     * @param steps  k; 0 leaves copies of the shared adapter
     * @param config what stage 1 adapts, its optimizer and rates as they are given; token budget and seed
     */
    public record Plan(List<EncodedTask> tasks, int steps, TrainConfig config) {

        public Plan {
            tasks = List.copyOf(tasks);
        }

        private int groupSize() {
            return TaskAdaptation.groupSize(config, tasks.size());
        }

        private PassLimits limits() {
            int most = tasks.stream().mapToInt(task -> task.examples().size()).max().orElseThrow();
            return PackBuilder.limits(groupSize(), most, EncodedTask.longest(tasks), config.compute().tokenBudget());
        }
    }

    /**
     * Holds what the adaptation of one group needs, until closed.
     *
     * @param shared   where each task starts; unchanged, stays the caller's
     * @param progress is told how many tokens went through the model, pass by pass
     * @param stop     asked before every pass; true ends an adaptation with a {@link CancellationException}
     */
    public TaskAdaptation(CausalLM model, LoraAdapter shared, Plan plan, LongConsumer progress, BooleanSupplier stop) {
        TrainConfig config = plan.config();
        AdapterLayout layout = shared.layout();
        PassLimits limits = plan.limits();
        var buffers = new BufferPlan(model.device());
        this.shared = shared;
        this.steps = plan.steps();
        this.dropoutSeed = new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, NO_ITERATION).nextLong();
        this.progress = progress;
        this.slots = PassAccess.get().slots(buffers, layout, plan.groupSize());
        this.inner = new InnerLoop(buffers, slots, config.meta(), InnerRates.of(layout, config.meta()));
        var losses = new LossLedger(buffers, limits);
        held.add(buffers::allocate, BufferPlan::close);
        this.pass = held.add(() -> new GradientPass(model, layout, limits, losses, () -> {
            tellProgress();
            return stop.getAsBoolean();
        }), GradientPass::close);
        if (steps > 0) {
            // A step's ops are those of every step.
            held.orClose(() -> pass.plan(slots, () -> queue(List.of(), 1, new double[1][slots.slots()])));
        }
    }

    /** Tasks that are adapted together: those of a meta-batch, or all where they are fewer. */
    public static int groupSize(TrainConfig config, int tasks) {
        return Math.min(config.meta().tasksPerIteration(), tasks);
    }

    /**
     * Takes the inner steps from the shared adapter on each task's examples, every step on all of them.
     *
     * @param tasks the group, none without examples
     * @return slot i holds the adapter of task i, until the next call; stays this object's
     * @throws TrainingDivergedException if an adapted adapter is not finite
     * @throws InputException            if that comes of weights of the model that are not
     */
    public AdapterSlots adapt(List<EncodedTask> tasks) {
        if (tasks.size() > slots.slots()) {
            throw new IllegalArgumentException(tasks.size() + " tasks in " + slots.slots() + " slots");
        }
        List<List<EncodedExample>> examples = tasks.stream().map(EncodedTask::examples).toList();
        return pass.whole(() -> {
            queue(examples, steps, new double[steps][slots.slots()]);
            pass.await();
            tellProgress();
            requireFinite(tasks);
            return slots;
        });
    }

    private void queue(List<List<EncodedExample>> examples, int count, double[][] losses) {
        inner.queue(shared.parameters(), examples, count, pass, dropoutSeed, losses, step -> { });
        inner.queueNorms();
    }

    private void requireFinite(List<EncodedTask> tasks) {
        float[] norms = inner.awaitNorms();
        for (int slot = 0; slot < tasks.size(); slot++) {
            if (!Float.isFinite(norms[slot])) {
                throw new TrainingDivergedException("adapting to the examples of task " + tasks.get(slot).name()
                        + " gives an adapter that is not finite; lower meta.inner_lr, or set meta.inner_clip");
            }
        }
    }

    private void tellProgress() {
        long tokens = pass.takeTokens();
        if (tokens > 0) {
            progress.accept(tokens);
        }
    }

    @Override
    public void close() {
        held.close();
    }

    /**
     * Adapts tasks and keeps the adapter of each.
     *
     * @param examples of each task, none empty
     * @return one adapter per task, which the caller closes
     * @throws TrainingDivergedException if an adapted adapter is not finite
     * @throws InputException            if that comes of weights of the model that are not
     */
    public static List<LoraAdapter> adapt(CausalLM model, LoraAdapter shared, List<List<EncodedExample>> examples, int steps,
                                          TrainConfig config) {
        List<EncodedTask> tasks = IntStream.range(0, examples.size()).mapToObj(i -> new EncodedTask(
                Integer.toString(i + 1), examples.get(i), IntStream.range(0, examples.get(i).size()).toArray())).toList();
        var plan = new Plan(tasks, steps, config);
        int group = plan.groupSize();
        var adapted = new ArrayList<LoraAdapter>();
        try (var adaptation = new TaskAdaptation(model, shared, plan, tokens -> { }, () -> false)) {
            long count = shared.layout().parameters();
            for (int from = 0; from < tasks.size(); from += group) {
                List<EncodedTask> batch = tasks.subList(from, Math.min(tasks.size(), from + group));
                AdapterSlots slots = adaptation.adapt(batch);
                for (int slot = 0; slot < batch.size(); slot++) {
                    Tensor parameters = model.device().zeros(DType.F32, count);
                    adapted.add(LoraAdapter.of(shared.layout(), parameters));
                    parameters.copyFrom(slots.parameters(), slot * count, 0, count);
                }
            }
        } catch (RuntimeException | Error e) {
            try {
                Held.closeAll(adapted, LoraAdapter::close);
            } catch (RuntimeException | Error failure) {
                e.addSuppressed(failure);
            }
            throw e;
        }
        return adapted;
    }
}
