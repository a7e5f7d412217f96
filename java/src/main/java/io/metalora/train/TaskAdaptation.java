package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.runtime.DType;
import io.metalora.runtime.Held;
import io.metalora.runtime.Tensor;
import io.metalora.task.CounterRandom;
import io.metalora.task.EncodedExample;
import io.metalora.task.PackBuilder;
import java.util.ArrayList;
import java.util.List;

/** Stage 1 on its own: from a shared adapter to one adapted to each task, as it is used after training. */
public final class TaskAdaptation {

    /** Stands for the iteration in the dropout seed: adaptation belongs to none. */
    private static final long NO_ITERATION = -1;

    private TaskAdaptation() {
    }

    /**
     * Takes {@code steps} inner steps from the shared adapter on each task's examples, every step on all of them.
     *
     * @param shared   where each task starts; unchanged
     * @param examples of each task, none empty
     * @param steps    k; 0 gives copies of the shared adapter
     * @param config   its inner optimizer, {@code meta.tasks_per_iteration} (the tasks adapted in one pass), token budget
     *                 and seed
     * @return one adapter a task, which the caller closes
     * @throws TrainingDivergedException if an adapted adapter is not finite
     * @throws io.metalora.runtime.InputException if that comes of weights of the model that are not
     */
    public static List<LoraAdapter> adapt(CausalLM model, LoraAdapter shared, List<List<EncodedExample>> examples, int steps,
                                          TrainConfig config) {
        var adapted = new ArrayList<LoraAdapter>();
        int group = Math.min(config.meta().tasksPerIteration(), examples.size());
        try {
            for (int from = 0; from < examples.size(); from += group) {
                adaptGroup(model, shared, examples.subList(from, Math.min(examples.size(), from + group)), steps, config, adapted);
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

    private static void adaptGroup(CausalLM model, LoraAdapter shared, List<List<EncodedExample>> examples, int steps,
                                   TrainConfig config, List<LoraAdapter> adapted) {
        int n = examples.size();
        int longest = examples.stream().flatMap(List::stream).mapToInt(EncodedExample::length).max().orElseThrow();
        int most = examples.stream().mapToInt(List::size).max().orElseThrow();
        var limits = PackBuilder.limits(n, most, longest, config.compute().tokenBudget());
        var layout = shared.layout();
        var device = model.device();
        double[][] losses = new double[steps][n];
        long dropoutSeed = new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, NO_ITERATION).nextLong();
        try (var slots = new AdapterSlots(device, layout, n, true);
             var pass = new GradientPass(model, layout, limits, () -> false);
             var inner = new InnerLoop(device, slots, config.meta())) {
            if (steps > 0) {
                pass.plan(slots, () -> inner.planned(shared.parameters()));
            }
            inner.adapt(shared.parameters(), examples, steps, pass, dropoutSeed, losses);
            requireFinite(model, inner.norms(), adapted.size());
            long count = layout.parameters();
            for (int slot = 0; slot < n; slot++) {
                Tensor parameters = device.zeros(DType.F32, count);
                adapted.add(LoraAdapter.of(layout, parameters));
                parameters.copyFrom(slots.parameters(), slot * count, 0, count);
            }
        }
    }

    private static void requireFinite(CausalLM model, float[] norms, int first) {
        for (int slot = 0; slot < norms.length; slot++) {
            if (!Float.isFinite(norms[slot])) {
                model.requireFiniteWeights();
                throw new TrainingDivergedException("adapting to the examples of task " + (first + slot + 1)
                        + " gives an adapter that is not finite; lower meta.inner_lr, or set meta.inner_clip");
            }
        }
    }
}
