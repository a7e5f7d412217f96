package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.AdapterLayout;
import io.metalora.config.TrainConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.PassLimits;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.CounterRandom;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.PackBuilder;
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
     * Holds what the adaptation of one group needs, until closed.
     *
     * @param shared   where each task starts; unchanged, stays the caller's
     * @param group    most tasks of a group; {@link #groupSize} is what the model is loaded for
     * @param most     most examples of a task
     * @param longest  tokens of the longest example
     * @param steps    k; 0 leaves copies of the shared adapter
     * @param config   what stage 1 adapts, its optimizer and rates as they are given; token budget and seed
     * @param progress hears how many tokens went through the model, pass by pass
     * @param stop     asked before every pass; true ends an adaptation with a {@link CancellationException}
     */
    public TaskAdaptation(CausalLM model, LoraAdapter shared, int group, int most, int longest, int steps, TrainConfig config,
                          LongConsumer progress, BooleanSupplier stop) {
        PassLimits limits = PackBuilder.limits(group, most, longest, config.compute().tokenBudget());
        AdapterLayout layout = shared.layout();
        Device device = model.device();
        this.shared = shared;
        this.steps = steps;
        this.dropoutSeed = new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, NO_ITERATION).nextLong();
        this.progress = progress;
        this.slots = held.add(() -> new AdapterSlots(device, layout, group, true), AdapterSlots::close);
        this.pass = held.add(() -> new GradientPass(model, layout, limits, () -> {
            tellProgress();
            return stop.getAsBoolean();
        }), GradientPass::close);
        this.inner = held.add(() -> new InnerLoop(device, slots, config.meta(), InnerRates.of(layout, config.meta())),
                InnerLoop::close);
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
     * @return one adapter a task, which the caller closes
     * @throws TrainingDivergedException if an adapted adapter is not finite
     * @throws InputException            if that comes of weights of the model that are not
     */
    public static List<LoraAdapter> adapt(CausalLM model, LoraAdapter shared, List<List<EncodedExample>> examples, int steps,
                                          TrainConfig config) {
        int group = groupSize(config, examples.size());
        int most = examples.stream().mapToInt(List::size).max().orElseThrow();
        int longest = examples.stream().flatMap(List::stream).mapToInt(EncodedExample::length).max().orElseThrow();
        var adapted = new ArrayList<LoraAdapter>();
        try (var adaptation = new TaskAdaptation(model, shared, group, most, longest, steps, config, tokens -> { }, () -> false)) {
            long count = shared.layout().parameters();
            for (int from = 0; from < examples.size(); from += group) {
                List<EncodedTask> batch = IntStream.range(from, Math.min(examples.size(), from + group)).mapToObj(i -> new EncodedTask(
                        Integer.toString(i + 1), examples.get(i), IntStream.range(0, examples.get(i).size()).toArray())).toList();
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
